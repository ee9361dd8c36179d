using System.Diagnostics;
using System.Globalization;
using System.Text;
using System.Text.Json;
using CommandLine;
using SorsaOrt.Adapters;
using SorsaOrt.Artifacts;
using SorsaOrt.GraphBuilder;
using SorsaOrt.TestSupport;

namespace SorsaOrt.Benchmarks;

/// <summary>Where <see cref="Growth"/> works.</summary>
[Verb("growth", HelpText = "Measure how time and memory of a step grow with length, rank and layers, on random weights in the shape of SmolLM2-135M: growth.json, growth.png and a table. Takes 10 GB of disk.")]
public sealed class GrowthOptions
{
    [Option("out", Required = true, HelpText = "Folder for artifacts and results; a second start goes on where the first was stopped.")]
    public string Out { get; set; } = "";

    [Option("threads", Default = 0, HelpText = "Threads of a session; 0 takes every processor, as training does.")]
    public int Threads { get => field > 0 ? field : Environment.ProcessorCount; set; }

    [Option("build-only", HelpText = "Only build the artifacts, which needs no quiet machine.")]
    public bool BuildOnly { get; set; }
}

/// <summary>What one process of <see cref="StepBenchmark"/> measures: a model of some layers at a rank, one shape of batch.</summary>
/// <param name="Series">What is varied: "length", "rank" or "layers".</param>
/// <param name="Layers">Transformer blocks.</param>
/// <param name="Rank">Adapter rank.</param>
/// <param name="BatchSize">Rows.</param>
/// <param name="Length">Tokens of a row.</param>
/// <param name="Recompute">Whether layers are computed again in the backward pass.</param>
internal sealed record GrowthPoint(string Series, int Layers, int Rank, int BatchSize, int Length, bool Recompute)
{
    /// <summary>The artifacts it needs.</summary>
    public string Artifacts => $"layers{Layers}-rank{Rank}{(Recompute ? "-recompute" : "")}";

    /// <summary>What is varied.</summary>
    public int Varied => Series switch
    {
        "length" => Length,
        "rank" => Rank,
        _ => Layers,
    };
}

/// <summary>A point and what was found there.</summary>
/// <param name="Point">What was measured.</param>
/// <param name="Step">What was found.</param>
internal sealed record GrowthResult(GrowthPoint Point, StepSummary Step);

/// <summary>Measures each point in a process of its own, because peak memory is a process's.</summary>
internal static class Growth
{
    private const string Results = "growth.json";
    private const string Picture = "growth.png";
    private static readonly JsonSerializerOptions Indented = new() { WriteIndented = true };

    /// <summary>Measures what is not measured yet and draws all of it.</summary>
    public static string Run(GrowthOptions options)
    {
        Directory.CreateDirectory(options.Out);
        var path = Path.Combine(options.Out, Results);
        List<GrowthResult> results = File.Exists(path) ? JsonSerializer.Deserialize<List<GrowthResult>>(File.ReadAllBytes(path))! : [];
        var missing = Points().Where(p => !results.Exists(r => r.Point == p)).ToList();
        foreach (var point in missing.DistinctBy(p => p.Artifacts))
            Build(options.Out, point);
        if (options.BuildOnly)
            return $"{options.Out}: artifacts for {missing.Count} measurements";
        foreach (var point in missing)
        {
            Console.Error.WriteLine(point);
            results.Add(new GrowthResult(point, Measure(options, point)));
            File.WriteAllBytes(path, JsonSerializer.SerializeToUtf8Bytes(results, Indented));
        }
        GrowthPlot.Save(results, Path.Combine(options.Out, Picture));
        return Table(results);
    }

    private static IEnumerable<GrowthPoint> Points() =>
        from recompute in (bool[])[false, true]
        from point in ((int[])[128, 256, 512, 1024, 2048]).Select(length => new GrowthPoint("length", 30, 16, 1, length, recompute))
            .Concat(((int[])[8, 16, 32, 64, 128]).Select(rank => new GrowthPoint("rank", 30, rank, 2, 256, recompute)))
            .Concat(((int[])[6, 12, 18, 24, 30]).Select(layers => new GrowthPoint("layers", layers, 16, 2, 256, recompute)))
        select point;

    private static void Build(string folder, GrowthPoint point)
    {
        var artifacts = Path.Combine(folder, point.Artifacts);
        if (Directory.Exists(artifacts))
            return;
        var model = Path.Combine(folder, $"layers{point.Layers}.onnx");
        if (!File.Exists(model))
            (RandomLlama.SmolLm2 with { Layers = point.Layers }).Write(model);
        Console.Error.WriteLine("building " + artifacts);
        ArtifactBuilder.Build(new BuildOptions
        {
            ModelPath = model,
            OutputFolder = artifacts,
            Rank = point.Rank,
            Recompute = point.Recompute ? Recomputation.Layer : Recomputation.None,
            Svd = new SvdOptions { Method = SvdMethod.Randomized, Iterations = 0 }, // which start does not matter to a step
        });
    }

    private static StepSummary Measure(GrowthOptions options, GrowthPoint point)
    {
        var start = new ProcessStartInfo(Environment.ProcessPath!) { RedirectStandardOutput = true };
        foreach (var argument in (string[])["exec", typeof(Growth).Assembly.Location, "step", "--artifacts", Path.Combine(options.Out, point.Artifacts), "--batch-size", Text(point.BatchSize),
            "--length", Text(point.Length), "--threads", Text(options.Threads), "--steps", "3", "--no-profile", "--json"])
            start.ArgumentList.Add(argument);
        using var process = Process.Start(start)!;
        var output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        return process.ExitCode == 0 ? JsonSerializer.Deserialize<StepSummary>(output)! : throw new InvalidOperationException($"measuring {point} failed");
    }

    private static string Table(IReadOnlyList<GrowthResult> results)
    {
        var text = new StringBuilder();
        text.AppendLine("| varied | recompute | s a step | tokens/s | sgemm, GFLOP/s | peak MB |").AppendLine("|---|---|---|---|---|---|");
        foreach (var (point, step) in results)
        {
            text.AppendLine(CultureInfo.InvariantCulture, $"| {point.Series} {point.Varied} | {(point.Recompute ? "layer" : "none")} | {step.Seconds:F3} | {step.TokensPerSecond:F0} | {step.SgemmGigaflops:F0} | {step.PeakBytes / 1e6:F0} |");
        }
        return text.ToString();
    }

    private static string Text(int value) => value.ToString(CultureInfo.InvariantCulture);
}
