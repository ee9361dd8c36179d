using System.Diagnostics;
using SorsaOrt.Artifacts;
using SorsaOrt.Engines;

namespace SorsaOrt.Benchmarks;

/// <summary>Times training steps of an artifact folder on random tokens, with the machine's own matrix product between them.</summary>
internal static class StepBenchmark
{
    private const int ProfiledSteps = 5;
    private const double LearningRate = 1e-6;
    private static readonly AdamWOptions AdamW = new() { RegularizerStrength = 0.2 };

    /// <summary>Measures.</summary>
    public static StepMeasurement Run(StepOptions options)
    {
        var artifacts = ArtifactSet.Open(options.Artifacts, Verification.Sizes);
        var engineOptions = new EngineOptions
        {
            Threads = options.Threads,
            PackWeights = options.PackWeights || !options.NoPackWeights && EngineOptions.PacksByDefault(artifacts),
        };
        var tokens = RandomTokens.Of(options, artifacts.Manifest.VocabularySize);
        var opening = Stopwatch.StartNew();
        using var engine = SessionEngine.Open(artifacts, engineOptions);
        opening.Stop();
        var loss = Step(engine, tokens);
        engine.Update(AdamW, LearningRate);
        var peak = PeakBytes();

        var (forwardBackward, update, product) = (new Timing(), new Timing(), new Timing());
        long allocated = 0;
        using var matrices = new MatrixProduct(options.Threads);
        matrices.Run();
        for (var i = 0; i < Math.Max(1, options.Steps); i++)
        {
            product.Measure(matrices.Run);
            var before = GC.GetAllocatedBytesForCurrentThread();
            forwardBackward.Measure(() => Step(engine, tokens));
            update.Measure(() => engine.Update(AdamW, LearningRate));
            allocated = GC.GetAllocatedBytesForCurrentThread() - before;
        }
        return new StepMeasurement
        {
            Title = $"{Path.GetFileName(Path.GetFullPath(artifacts.Folder))}, {artifacts.Manifest.Method.ToString().ToLowerInvariant()} rank {artifacts.Manifest.Rank}, "
                + $"{options.BatchSize} × {options.Length}, {options.Threads} threads",
            Tokens = tokens.Count,
            Labels = tokens.LabelPositions.Length,
            OpenSeconds = opening.Elapsed.TotalSeconds,
            ForwardBackward = forwardBackward,
            Update = update,
            Product = product,
            Work = StepWork.Of(artifacts, options.BatchSize, options.Length, tokens.LabelPositions.Length),
            PeakBytes = peak,
            AllocatedBytes = allocated,
            LossSum = loss,
            Operators = options.NoProfile ? [] : Profile(artifacts, engineOptions, tokens, options.KeepProfile),
        };
    }

    private static double Step(SessionEngine engine, RandomTokens tokens) => engine.Accumulate(tokens.Batch, 1.0 / tokens.LabelPositions.Length).LossSum;

    private static IReadOnlyList<OperatorShare> Profile(ArtifactSet artifacts, EngineOptions options, RandomTokens tokens, string? keep)
    {
        var folder = Directory.CreateTempSubdirectory("sorsa-bench-");
        try
        {
            using (var engine = SessionEngine.Open(artifacts, options with { ProfilePrefix = Path.Combine(folder.FullName, "step") }))
            {
                for (var i = 0; i < ProfiledSteps; i++)
                    Step(engine, tokens);
            }
            var profile = folder.GetFiles("step*.json").Single().FullName;
            if (keep is not null)
                File.Copy(profile, keep, overwrite: true);
            return OperatorShare.Read(profile, ProfiledSteps);
        }
        finally
        {
            folder.Delete(recursive: true);
        }
    }

    private static long PeakBytes()
    {
        using var process = Process.GetCurrentProcess();
        return process.PeakWorkingSet64;
    }
}
