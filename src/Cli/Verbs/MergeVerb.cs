using CommandLine;

namespace SorsaOrt.Cli.Verbs;

[Verb("merge", HelpText = "Fold trained adapters into the model they came from.")]
internal sealed class MergeVerb : VerbOptions
{
    [Option("artifacts", Required = true, MetaValue = "DIR", HelpText = "Artifacts of `sorsa build-artifacts`.")]
    public string Artifacts { get; set; } = "";

    [Option("checkpoint", MetaValue = "RUN|RUN/checkpoints/step-N", HelpText = "Trained parameters; without it those of the artifacts as built.")]
    public string? Checkpoint { get; set; }

    [Option("out", Required = true, MetaValue = "merged.onnx", HelpText = "The merged model.")]
    public string Out { get; set; } = "";

    [Option("dtype", Default = "keep", MetaValue = "keep|fp32|fp16|bf16", HelpText = "Element type of the target weights.")]
    public string ElementType { get; set; } = "keep";

    [Option("verify", HelpText = "Run the adapted and the merged model and compare their logits.")]
    public bool Verify { get; set; }

    [Option("threads", HelpText = "Threads; default: all processors.")]
    public int? Threads { get; set; }

    [Option("force", HelpText = "Replace an existing output.")]
    public bool Force { get; set; }

    public override int Run(Terminal terminal) => throw new NotImplementedException();
}
