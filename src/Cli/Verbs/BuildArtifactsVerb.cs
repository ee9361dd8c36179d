using System.Diagnostics;
using System.Globalization;
using CommandLine;
using SorsaOrt.Adapters;
using SorsaOrt.Artifacts;
using SorsaOrt.GraphBuilder;
using SorsaOrt.GraphBuilder.OrtTraining;
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
    public int Rank { get; set; } = 128;

    [Option("alpha", HelpText = "Scale of the adapter path is alpha / rank; without it 1.")]
    public double? Alpha { get; set; }

    [Option("targets", MetaValue = "LIST", HelpText = "Roles or module names, comma separated; all-linear; or re:REGEX. Default: the seven projections of a block.")]
    public string? Targets { get; set; }

    [Option("svd", Default = "auto", MetaValue = "auto|exact|randomized", HelpText = "How weights are decomposed.")]
    public string Svd { get; set; } = "auto";

    [Option("svd-iterations", Default = 4, HelpText = "Power iterations of the randomised SVD.")]
    public int SvdIterations { get; set; } = 4;

    [Option("dropout", Default = 0.0, MetaValue = "P", HelpText = "Share of every adapter's inputs dropped in training.")]
    public double Dropout { get; set; }

    [Option("residual-dtype", MetaValue = "fp32|fp16|bf16|int8|int4", HelpText = "How the frozen residual is stored, in memory too. Default: fp32; weights that arrive quantised stay as they are.")]
    public string? ResidualType { get; set; }

    [Option("compute-dtype", Default = "fp32", MetaValue = "fp32|fp16|bf16", HelpText = "What the products with frozen weights and of attention compute in, for GPUs (bf16: CUDA); adapters, norms, softmax and loss are fp32 in any case.")]
    public string ComputeType { get; set; } = "fp32";

    [Option("factors", MetaValue = "FILE", HelpText = "Start from MODULE.A, .S, .B (and .Wr) of these safetensors files instead of an SVD.")]
    public IEnumerable<string> Factors { get; set; } = [];

    [Option("recompute", Default = "none", MetaValue = "none|layer", HelpText = "What the backward pass computes again: nothing (fastest), or the inside of every layer (least memory).")]
    public string Recompute { get; set; } = "none";

    [Option("format", Default = "ort", MetaValue = "ort|ort-training|both", HelpText = "Artifacts for plain ONNX Runtime, for its official training runtime (1.19.2), or for both.")]
    public string Format { get; set; } = "ort";

    [Option("max-grad-norm", HelpText = "Official optimizer: gradients are clipped to this norm; 0 leaves them. Default 1.")]
    public float? MaxGradNorm { get; set; }

    [Option("weight-decay", HelpText = "Official optimizer: decoupled weight decay. Default 0.")]
    public float? WeightDecay { get; set; }

    [Option("gamma", HelpText = "Official optimizer: weight of the orthonormality term, taken with --lr and --accumulation. Default 0: left out.")]
    public double? Gamma { get; set; }

    [Option("lr", HelpText = "Official optimizer: base learning rate of the orthonormality term; the runtime sets its own rate. Default 0.001, the runtime's.")]
    public double? LearningRate { get; set; }

    [Option("accumulation", HelpText = "Official optimizer: micro-batches of a step, for the orthonormality term. Default 1.")]
    public int? Accumulation { get; set; }

    [Option("seed", Default = 0L, HelpText = "Seed of the randomised SVD and of LoRA's A.")]
    public long Seed { get; set; }

    [Option("threads", HelpText = "Threads; default: all processors.")]
    public int? Threads { get; set; }

    [Option("force", HelpText = "Replace an existing output.")]
    public bool Force { get; set; }

    public override string? Subject => Model;

    public override int Run(Terminal terminal)
    {
        var report = ArtifactBuilder.Build(Options(), terminal.Progress);
        var peak = Process.GetCurrentProcess().PeakWorkingSet64;
        terminal.Note($"{report.Family}: {report.Targets.Count} Linears made trainable{(Method == "full" ? "" : $" at rank {Rank}")}, training graph of {report.TrainingNodes} nodes");
        PrintLosses(terminal, report.Targets);
        PrintStored(terminal, report.Targets);
        terminal.Result(string.Create(CultureInfo.InvariantCulture,
            $"{report.Folder}: {report.Trainable:N0} of {report.Parameters:N0} parameters trainable, SVD {report.SvdSeconds:0.0} s, {report.TotalSeconds:0.0} s in all, peak {peak >> 20} MB"));
        if (Format != "ort" && Method == "sorsa" && Gamma is null or 0)
            terminal.Note("the official optimizer_model.onnx holds no orthonormality term; --gamma, --lr and --accumulation put it there");
        if (Json)
        {
            terminal.ResultJson(new
            {
                report.Parameters,
                report.Trainable,
                Targets = report.Targets.Select(t => t.Loss is { } loss
                    ? (object)new { t.Name, t.In, t.Out, t.Rank, ResidualLoss = loss.OfResidual, WeightLoss = loss.OfWeight }
                    : t.StoredType is { } stored ? new { t.Name, t.In, t.Out, t.Rank, Frozen = stored.ShortName() } : new { t.Name, t.In, t.Out, t.Rank }),
                Seconds = new { Svd = report.SvdSeconds, Total = report.TotalSeconds },
                PeakMemoryBytes = peak,
            });
        }
        return ExitCode.Done;
    }

    private static void PrintLosses(Terminal terminal, IReadOnlyList<BuiltTarget> targets)
    {
        if (targets.All(t => t.Loss is null))
            return;
        var width = targets.Max(t => t.Name.Length);
        terminal.Result($"{"lost by quantising the residual Wr to Wr'".PadRight(width)}  |Wr - Wr'|/|Wr|  |Wr - Wr'|/|W|");
        foreach (var (name, loss) in targets.Where(t => t.Loss is not null).Select(t => (t.Name, t.Loss!.Value)))
            terminal.Result(string.Create(CultureInfo.InvariantCulture, $"{name.PadRight(width)}  {loss.OfResidual,15:0.00000}  {loss.OfWeight,14:0.00000}"));
    }

    private void PrintStored(Terminal terminal, IReadOnlyList<BuiltTarget> targets)
    {
        foreach (var stored in targets.Where(t => t.StoredType is not null).GroupBy(t => t.StoredType!.Value))
        {
            terminal.Result($"{stored.Count()} of {targets.Count} weights arrived quantised ({stored.Key.ShortName()}) and stay frozen exactly as they are"
                + (Method == "lora" ? "" : "; what the adapters start with is subtracted beside them") + " (--residual-dtype stores a residual instead)");
        }
    }

    private BuildOptions Options()
    {
        if (Rank < 1)
            throw new UsageException($"--rank {Rank}: at least 1 is needed.");
        if (Alpha is { } alpha && !(double.IsFinite(alpha) && alpha > 0))
            throw new UsageException(string.Create(CultureInfo.InvariantCulture, $"--alpha {alpha}: a positive number is needed."));
        if (!(Dropout is >= 0 and < 1))
            throw new UsageException(string.Create(CultureInfo.InvariantCulture, $"--dropout {Dropout}: a number from 0 to below 1 is needed."));
        if (Dropout > 0 && Method == "full")
            throw new UsageException("--dropout acts on adapters, and --method full has none.");
        if (SvdIterations is < 0 or > 1000)
            throw new UsageException($"--svd-iterations {SvdIterations} is not between 0 and 1000.");
        if (Targets is { } targets && targets.Trim().Length == 0)
            throw new UsageException("--targets is empty; leave it out for the seven projections of a block.");
        var format = Choice.Of("format", Format, ("ort", ArtifactFormat.Ort), ("ort-training", ArtifactFormat.OrtTraining), ("both", ArtifactFormat.Both));
        if (Dropout > 0 && format != ArtifactFormat.Ort)
            throw new UsageException("--dropout needs --format ort: the official runtime does not feed the keys that decide what is dropped.");
        if (ResidualType is "int8" or "int4" && Method == "full")
            throw new UsageException($"--residual-dtype {ResidualType}: --method full trains the weights themselves and leaves no residual to quantise.");
        if (ResidualType is "int8" or "int4" && format != ArtifactFormat.Ort)
            throw new UsageException($"--residual-dtype {ResidualType} needs --format ort: it was not tried on the official runtime 1.19.2.");
        var method = Choice.Of("method", Method, ("sorsa", AdapterMethod.Sorsa), ("pissa", AdapterMethod.Pissa), ("lora", AdapterMethod.Lora), ("full", AdapterMethod.Full));
        var compute = Choice.ComputeType(ComputeType, method);
        if (compute != ElementType.Float32 && format != ArtifactFormat.Ort)
            throw new UsageException($"--compute-dtype {ComputeType} needs --format ort: the official runtime 1.19.2 runs on the processor, and does not scale the loss.");
        var optimizer = OfficialOptimizer(format);
        return new BuildOptions
        {
            ModelPath = Model,
            OutputFolder = Out,
            Method = method,
            Rank = Rank,
            Alpha = Alpha,
            Targets = Targets ?? TargetSelection.Default,
            Svd = new SvdOptions
            {
                Method = Choice.Of("svd", Svd, ("auto", SvdMethod.Auto), ("exact", SvdMethod.Exact), ("randomized", SvdMethod.Randomized)),
                Iterations = SvdIterations,
            },
            ResidualType = Choice.ResidualType(ResidualType),
            ComputeType = compute,
            FactorFiles = [.. Factors],
            Recompute = Choice.Of("recompute", Recompute, ("none", Recomputation.None), ("layer", Recomputation.Layer)),
            Format = format,
            OfficialOptimizer = optimizer,
            Dropout = Dropout,
            Seed = Choice.Seed(Seed),
            Threads = Choice.Threads(Threads),
            Force = Force,
        };
    }

    // What the official runtime takes until it is told another.
    private const double OfficialLearningRate = 1e-3;

    private OfficialOptimizerOptions OfficialOptimizer(ArtifactFormat format)
    {
        (string Name, double? Value, double Least)[] given =
        [
            ("max-grad-norm", MaxGradNorm, 0), ("weight-decay", WeightDecay, 0), ("gamma", Gamma, 0), ("lr", LearningRate, double.Epsilon), ("accumulation", Accumulation, 1),
        ];
        foreach (var (name, value, least) in given.Where(g => g.Value is not null))
        {
            if (format == ArtifactFormat.Ort)
                throw new UsageException($"--{name} is fixed at build time for the official optimizer only: give it to sorsa train, or build with --format ort-training or both.");
            if (!(double.IsFinite(value!.Value) && value >= least))
                throw new UsageException(string.Create(CultureInfo.InvariantCulture, $"--{name} {value}: {(least == 0 ? "a number from 0 on" : "a positive number")} is needed."));
        }
        var defaults = new OfficialOptimizerOptions();
        return defaults with
        {
            MaxGradNorm = MaxGradNorm ?? defaults.MaxGradNorm,
            WeightDecay = WeightDecay ?? defaults.WeightDecay,
            RegularizerStrength = (Gamma ?? 0) / ((LearningRate ?? OfficialLearningRate) * (Accumulation ?? 1)),
        };
    }
}
