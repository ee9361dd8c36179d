using CommandLine;

namespace SorsaOrt.Cli.Verbs;

[Verb("report", HelpText = "Draw the loss curve of a run (loss.png) and its page (report.html).")]
internal sealed class ReportVerb : VerbOptions
{
    [Option("run", Required = true, MetaValue = "RUN", HelpText = "A run of `sorsa train`.")]
    public string RunFolder { get; set; } = "";

    public override int Run(Terminal terminal) => throw new NotImplementedException();
}
