using CommandLine;

namespace SorsaOrt.Cli.Verbs;

[Verb("inspect", HelpText = "Say what a model, artifacts or run folder holds.")]
internal sealed class InspectVerb : VerbOptions
{
    [Option("model", Required = true, MetaValue = "model.onnx|DIR|RUN", HelpText = "A model, or an artifacts or run folder.")]
    public string Model { get; set; } = "";

    public override int Run(Terminal terminal) => throw new NotImplementedException();
}
