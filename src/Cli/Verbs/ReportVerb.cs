using CommandLine;
using SorsaOrt.Report;

namespace SorsaOrt.Cli.Verbs;

[Verb("report", HelpText = "Draw the loss curve of a run (loss.png) and its page (report.html).")]
internal sealed class ReportVerb : VerbOptions
{
    [Option("run", Required = true, MetaValue = "RUN", HelpText = "A run of `sorsa train`.")]
    public string RunFolder { get; set; } = "";

    public override int Run(Terminal terminal)
    {
        if (!File.Exists(Path.Combine(RunFolder, "metrics.jsonl")))
            throw new UsageException($"--run '{RunFolder}' is not the folder of a run: it holds no metrics.jsonl.");
        RunReport.Write(RunFolder);
        terminal.Result(Path.Combine(RunFolder, RunReport.Page));
        if (Json)
            terminal.ResultJson(new { Page = Path.Combine(RunFolder, RunReport.Page), Picture = Path.Combine(RunFolder, RunReport.Picture) });
        return ExitCode.Done;
    }
}
