using System.Diagnostics;
using System.Globalization;
using CommandLine;
using SorsaOrt.Artifacts;
using SorsaOrt.Engines;
using SorsaOrt.Inference;
using SorsaOrt.Ir;
using SorsaOrt.Merge;

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

    [Option("verify", HelpText = "Run the adapted and the merged model and compare their logits; weights that are quantised again are compared one by one.")]
    public bool Verify { get; set; }

    [Option("threads", HelpText = "Threads; default: all processors.")]
    public int? Threads { get; set; }

    [Option("force", HelpText = "Replace an existing output.")]
    public bool Force { get; set; }

    public override int Run(Terminal terminal)
    {
        var type = Choice.Of<ElementType?>("dtype", ElementType, ("keep", null), ("fp32", Ir.ElementType.Float32), ("fp16", Ir.ElementType.Float16), ("bf16", Ir.ElementType.BFloat16));
        var threads = Choice.Threads(Threads);
        var artifacts = ArtifactSet.Open(Artifacts, Verification.Full);
        using var checkpoint = Checkpoint is null ? null : CheckpointStore.OpenNamed(Checkpoint, artifacts, terminal.Note);
        (double Difference, double Scale)? verified = null;
        var report = ModelMerger.Merge(artifacts, checkpoint, Out, type, Force, Verify ? path => verified = Compare(terminal, artifacts, checkpoint, path, threads) : null, threads);
        PrintCosts(terminal, report.Requantized);
        terminal.Result($"{string.Join(", ", report.Files.Skip(1).Select(f => Path.GetRelativePath(".", f)).Prepend(Out))}: {report.Weights} weights merged" + (verified is { } v
            ? string.Create(CultureInfo.InvariantCulture, $", max|Δlogit| {v.Difference:g3} of {v.Scale:g4} against the adapted model") : "")
            + (verified is not null && IsRequantized(artifacts) ? " by rounding: each weight is as near to the trained one as its integers can be" : ""));
        if (Json)
        {
            terminal.ResultJson(new
            {
                report.Weights,
                report.Files,
                MaxLogitDifference = verified?.Difference,
                LogitScale = verified?.Scale,
                Requantized = report.Requantized.Select(r => new { Name = r.Module, Dtype = r.Type.ShortName(), r.OfWeight, r.OfChange }),
                PeakMemoryBytes = Process.GetCurrentProcess().PeakWorkingSet64,
            });
        }
        return ExitCode.Done;
    }

    private static void PrintCosts(Terminal terminal, IReadOnlyList<RequantizedTarget> targets)
    {
        if (targets.Count == 0)
            return;
        var width = targets.Max(t => t.Module.Length);
        terminal.Result($"{"lost by quantising W again to W'".PadRight(width)}  type  |W' - W|/|W|  |W' - W|/|W - arrived|");
        foreach (var target in targets)
            terminal.Result(string.Create(CultureInfo.InvariantCulture, $"{target.Module.PadRight(width)}  {target.Type.ShortName(),4}  {target.OfWeight,12:0.00000}  {target.OfChange,22:0.000}"));
    }

    private bool IsRequantized(ArtifactSet artifacts) => ElementType == "keep" && artifacts.Manifest.Targets.Any(t => t.ElementType is "u4" or "i4" or "u8" or "i8");

    // Largest difference of logits that --verify accepts, as a share of the largest logit: what float32 sums differ by, or some
    // roundings of the narrowest type that a target is stored in, was stored in or is computed with. Products with integers round their activations too.
    private double Tolerance(ArtifactSet artifacts) => artifacts.Manifest.Targets.Select(t => t.ElementType).Append(ElementType).Append(artifacts.Manifest.ComputeType ?? "f32").Max(t => t switch
    {
        "u4" or "i4" or "u8" or "i8" => 6e-2,
        "f16" or "fp16" => 1e-2,
        "bf16" => 6e-2,
        _ => 1e-4,
    });

    private (double, double) Compare(Terminal terminal, ArtifactSet artifacts, Checkpoint? checkpoint, string merged, int threads)
    {
        // No bound on logits tells a weight rounded to few bits from a wrong one; the weights themselves do.
        var isRequantized = IsRequantized(artifacts);
        if (isRequantized && WrittenWeights.Mistake(artifacts, checkpoint, merged) is { } mistake)
            throw new EngineException($"--verify: {mistake}; nothing was written");
        var options = new EngineOptions { Threads = threads, Training = false };
        using var adapted = ArtifactLanguageModel.Open(artifacts, checkpoint, options);
        // The file is not yet in its place.
        using var model = OnnxLanguageModel.Open(merged, options, note => terminal.Note(note.Replace(merged, Out, StringComparison.Ordinal)));
        return Compare(artifacts, adapted, model, isRequantized ? double.MaxValue : Tolerance(artifacts));
    }

    private static (double, double) Compare(ArtifactSet artifacts, LanguageModel adapted, LanguageModel model, double tolerance)
    {
        const int Rows = 2, Length = 16;
        var ids = new long[Rows * Length];
        for (var i = 0; i < ids.Length; i++)
            ids[i] = (i * 7919L + 1) % artifacts.Manifest.VocabularySize;
        var positions = Enumerable.Range(0, ids.Length).Select(i => (long)i).ToArray();
        var batch = new TokenBatch { BatchSize = Rows, SequenceLength = Length, InputIds = ids, LabelPositions = positions };
        var expected = adapted.Logits(batch).ToArray();
        var actual = model.Logits(batch);
        double difference = 0, scale = 0;
        for (var i = 0; i < expected.Length; i++)
        {
            difference = Math.Max(difference, Math.Abs((double)expected[i] - actual[i]));
            scale = Math.Max(scale, Math.Abs((double)expected[i]));
        }
        var allowed = Math.Min(double.MaxValue, tolerance * Math.Max(scale, 1));
        if (!(difference <= allowed))
            throw new EngineException(string.Create(CultureInfo.InvariantCulture,
                $"--verify: the merged model's logits differ from the adapted model's by {difference:g3}, more than {allowed:g3}; nothing was written"));
        return (difference, scale);
    }
}
