using System.Diagnostics;
using System.Globalization;
using CommandLine;
using SorsaOrt.Adapters;
using SorsaOrt.Artifacts;
using SorsaOrt.GraphBuilder;
using SorsaOrt.Ir;

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

    [Option("recompute", Default = "none", MetaValue = "none|layer", HelpText = "What the backward pass computes again: nothing (fastest), or the inside of every layer (least memory).")]
    public string Recompute { get; set; } = "none";

    [Option("seed", Default = 0L, HelpText = "Seed of the randomised SVD and of LoRA's A.")]
    public long Seed { get; set; }

    [Option("threads", HelpText = "Threads; default: all processors.")]
    public int? Threads { get; set; }

    [Option("force", HelpText = "Replace an existing output.")]
    public bool Force { get; set; }

    public override int Run(Terminal terminal)
    {
        var report = ArtifactBuilder.Build(Options(), terminal.Progress);
        var peak = Process.GetCurrentProcess().PeakWorkingSet64;
        terminal.Note($"{report.Family}: {report.Targets.Count} Linears of rank {Rank} made trainable, training graph of {report.TrainingNodes} nodes");
        terminal.Result(string.Create(CultureInfo.InvariantCulture,
            $"{report.Folder}: {report.Trainable:N0} of {report.Parameters:N0} parameters trainable, SVD {report.SvdSeconds:0.0} s, {report.TotalSeconds:0.0} s in all, peak {peak >> 20} MB"));
        if (Json)
        {
            terminal.ResultJson(new
            {
                report.Parameters,
                report.Trainable,
                Targets = report.Targets.Select(t => new { t.Name, t.In, t.Out, t.Rank }),
                Seconds = new { Svd = report.SvdSeconds, Total = report.TotalSeconds },
                PeakMemoryBytes = peak,
            });
        }
        return ExitCode.Done;
    }

    private BuildOptions Options()
    {
        if (Rank < 1)
            throw new UsageException($"--rank {Rank}: at least 1 is needed.");
        if (Alpha is { } alpha && !(double.IsFinite(alpha) && alpha > 0))
            throw new UsageException(string.Create(CultureInfo.InvariantCulture, $"--alpha {alpha}: a positive number is needed."));
        if (SvdIterations is < 0 or > 1000)
            throw new UsageException($"--svd-iterations {SvdIterations} is not between 0 and 1000.");
        if (Targets is { } targets && targets.Trim().Length == 0)
            throw new UsageException("--targets is empty; leave it out for the seven projections of a block.");
        return new BuildOptions
        {
            ModelPath = Model,
            OutputFolder = Out,
            Method = Choice.Of("method", Method, ("sorsa", AdapterMethod.Sorsa), ("pissa", AdapterMethod.Pissa), ("lora", AdapterMethod.Lora), ("full", AdapterMethod.Full)),
            Rank = Rank,
            Alpha = Alpha,
            Targets = Targets ?? TargetSelection.Default,
            Svd = new SvdOptions
            {
                Method = Choice.Of("svd", Svd, ("auto", SvdMethod.Auto), ("exact", SvdMethod.Exact), ("randomized", SvdMethod.Randomized)),
                Iterations = SvdIterations,
            },
            ResidualType = Choice.Of("residual-dtype", ResidualType, ("fp32", ElementType.Float32), ("fp16", ElementType.Float16), ("bf16", ElementType.BFloat16)),
            FactorFiles = [.. Factors],
            Recompute = Choice.Of("recompute", Recompute, ("none", Recomputation.None), ("layer", Recomputation.Layer)),
            Seed = Seed,
            Threads = Choice.Threads(Threads),
            Force = Force,
        };
    }
}
