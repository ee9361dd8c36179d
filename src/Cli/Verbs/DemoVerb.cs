using CommandLine;

namespace SorsaOrt.Cli.Verbs;

[Verb("demo", HelpText = "The whole way on a small model: evaluate, build, train, merge, evaluate again, generate.")]
internal sealed class DemoVerb : VerbOptions
{
    [Option("out", Default = "artifacts/demo", MetaValue = "DIR", HelpText = "Folder for everything the demo makes.")]
    public string Out { get; set; } = "artifacts/demo";

    [Option("threads", HelpText = "Threads; default: all processors.")]
    public int? Threads { get; set; }

    [Option("force", HelpText = "Replace an earlier demo.")]
    public bool Force { get; set; }

    public override int Run(Terminal terminal) => throw new NotImplementedException();
}
