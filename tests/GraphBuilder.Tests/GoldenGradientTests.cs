using System.Text.Json;
using SorsaOrt.Artifacts;
using SorsaOrt.Engines;
using SorsaOrt.TestSupport;
using Xunit;

namespace SorsaOrt.GraphBuilder.Tests;

/// <summary>The built training graph against the reference's losses and gradients on nano-llama (goldens/README.md).</summary>
public sealed class GoldenGradientTests
{
    [Fact]
    public void StartFromTheSvd_GivesTheReferencesLossAndGradientNorm()
    {
        var (loss, gradients, _) = Run([Paths.Fixture("nano-llama", "goldens", "init", "r8", "factors.safetensors")]);
        Assert.Equal(1.4078031088317209, loss, 1e-5);
        var norm = Math.Sqrt(gradients.Values.Sum(g => g.Sum(v => (double)v * v)));
        Assert.Equal(6.378103084045601, norm, 6.378 * 5e-5);
    }

    [Theory]
    [InlineData("A")]
    [InlineData("S")]
    [InlineData("B")]
    public void PerturbedPoint_GivesTheReferencesGradients(string part)
    {
        if (Paths.SharedOrNull is null)
            Assert.Skip("../shared is absent: the golden residual lies there");
        var folder = Paths.Fixture("nano-llama", "goldens", "gradients", "r8");
        var (loss, gradients, _) = Run([Path.Combine(folder, "perturbed.safetensors"), Paths.Shared("goldens", "nano-llama", "init", "r8", "residual.safetensors")]);
        Assert.Equal(1.4846676149536875, loss, 1e-5);
        using var golden = SafetensorsReader.Open(Path.Combine(folder, "task-at-perturbed.safetensors"));
        double difference = 0, size = 0;
        foreach (var (name, actual) in gradients.Where(g => g.Key.EndsWith("." + part, StringComparison.Ordinal)))
        {
            var expected = golden.ReadFloats(name);
            difference += expected.Zip(actual, (e, a) => Math.Pow((double)e - a, 2)).Sum();
            size += expected.Sum(e => (double)e * e);
        }
        Assert.InRange(Math.Sqrt(difference / size), 0, 5e-5);
    }

    [Fact]
    public void AdaptedModelWithNoStepTaken_GivesTheOriginalLogits()
    {
        var (_, _, difference) = Run([]);
        Assert.InRange(difference, 0, 20.5 * 1e-4);
    }

    private static (double Loss, Dictionary<string, float[]> Gradients, double LogitDifference) Run(IReadOnlyList<string> factors)
    {
        var folder = Directory.CreateTempSubdirectory("sorsaort-").FullName;
        try
        {
            ArtifactBuilder.Build(new BuildOptions
            {
                ModelPath = Paths.Fixture("nano-llama", "optimum-no-past.onnx"),
                OutputFolder = Path.Combine(folder, "artifacts"),
                Rank = 8,
                FactorFiles = factors,
            });
            var set = ArtifactSet.Open(Path.Combine(folder, "artifacts"), Verification.Full);
            using var engine = SessionEngine.Open(set, new EngineOptions { Threads = 1 });
            var rows = Rows();
            var result = engine.Accumulate(rows.Batch(), 1.0 / rows.LabelIds.Length);
            var gradients = set.Manifest.Parameters.ToDictionary(p => p.Name,
                p => Enumerable.Range(0, (int)p.ElementCount).Select(i => engine.Gradients[p.Offset + i]).ToArray());
            return (result.Mean, gradients, LogitDifference(engine));
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    private static double LogitDifference(SessionEngine engine)
    {
        using var inputs = JsonDocument.Parse(File.ReadAllBytes(Paths.Fixture("nano-llama", "inputs.json")));
        long[] Flat(string name) => [.. inputs.RootElement.GetProperty(name).EnumerateArray().SelectMany(r => r.EnumerateArray()).Select(v => v.GetInt64())];
        var (ids, mask) = (Flat("input_ids"), Flat("attention_mask"));
        var batch = new TokenBatch
        {
            BatchSize = 2,
            SequenceLength = 13,
            InputIds = ids,
            AttentionMask = mask,
            LabelPositions = [.. Enumerable.Range(0, 26).Select(i => (long)i)],
        };
        var actual = engine.Logits(batch);
        var golden = File.ReadAllBytes(Paths.Fixture("nano-llama", "logits.f32"));
        var worst = 0.0;
        for (var i = 0; i < actual.Length; i++)
        {
            if (mask[i / 512] == 1)
                worst = Math.Max(worst, Math.Abs(actual[i] - BitConverter.ToSingle(golden, i * 4)));
        }
        return worst;
    }

    private static LabelledRows Rows()
    {
        using var data = JsonDocument.Parse(File.ReadAllBytes(Paths.Fixture("nano-llama", "goldens", "data.json")));
        var split = data.RootElement.GetProperty("gradient");
        long[][] Read(string name) => [.. split.GetProperty(name).EnumerateArray().Select(r => r.EnumerateArray().Select(v => v.GetInt64()).ToArray())];
        var (ids, labels) = (Read("input_ids"), Read("labels"));
        var length = ids[0].Length;
        var places = from b in Enumerable.Range(0, ids.Length) from t in Enumerable.Range(0, length - 1) where labels[b][t + 1] >= 0 select (b, t);
        return new LabelledRows(ids.Length, length, [.. ids.SelectMany(r => r)],
            [.. places.Select(p => (long)(p.b * length + p.t))], [.. places.Select(p => labels[p.b][p.t + 1])]);
    }

    private sealed record LabelledRows(int Count, int Length, long[] Ids, long[] Positions, long[] LabelIds)
    {
        public TokenBatch Batch() => new() { BatchSize = Count, SequenceLength = Length, InputIds = Ids, LabelPositions = Positions, LabelIds = LabelIds };
    }
}
