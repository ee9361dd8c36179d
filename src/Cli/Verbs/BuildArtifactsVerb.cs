using CommandLine;

namespace SorsaOrt.Cli.Verbs;

[Verb("build-artifacts", HelpText = "Make an exported model trainable: find its Linears, decompose them, write the training graphs.")]
internal sealed class BuildArtifactsVerb : VerbOptions
{
    [Option("model", Required = true, MetaValue = "model.onnx", HelpText = "The exported model.")]
    public string Model { get; set; } = "";

    [Option("out", Required = true, MetaValue = "DIR", HelpText = "Folder for the artifacts.")]
    public string Out { get; set; } = "";

    [Option("method", Default = "sorsa", MetaValue = "sorsa|pissa|lora|full", HelpText = "What is trained.")]
    public string Method { get; set; } = "sorsa";

    [Option("rank", Default = 128, HelpText = "Rank r of every adapter.")]
    public int Rank { get; set; }

    [Option("alpha", HelpText = "Scale of the adapter path is alpha / rank; without it 1.")]
    public double? Alpha { get; set; }

    [Option("targets", MetaValue = "LIST", HelpText = "Roles or module names, comma separated; all-linear; or re:REGEX. Default: the seven projections of a block.")]
    public string? Targets { get; set; }

    [Option("svd", Default = "auto", MetaValue = "auto|exact|randomized", HelpText = "How weights are decomposed.")]
    public string Svd { get; set; } = "auto";

    [Option("svd-iterations", Default = 4, HelpText = "Power iterations of the randomised SVD.")]
    public int SvdIterations { get; set; }

    [Option("residual-dtype", Default = "fp32", MetaValue = "fp32|fp16|bf16", HelpText = "How the frozen residual is stored.")]
    public string ResidualType { get; set; } = "fp32";

    [Option("factors", MetaValue = "FILE", HelpText = "Start from MODULE.A, .S, .B (and .Wr) of these safetensors files instead of an SVD.")]
    public IEnumerable<string> Factors { get; set; } = [];

    [Option("seed", Default = 0L, HelpText = "Seed of the randomised SVD and of LoRA's A.")]
    public long Seed { get; set; }

    [Option("threads", HelpText = "Threads; default: all processors.")]
    public int? Threads { get; set; }

    [Option("force", HelpText = "Replace an existing output.")]
    public bool Force { get; set; }

    public override int Run(Terminal terminal) => throw new NotImplementedException();
}
