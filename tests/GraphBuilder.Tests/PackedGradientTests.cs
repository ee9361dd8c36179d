using SorsaOrt.Artifacts;
using SorsaOrt.Engines;
using SorsaOrt.TestSupport;
using Xunit;

namespace SorsaOrt.GraphBuilder.Tests;

/// <summary>Samples that share rows train as samples in rows of their own.</summary>
public sealed class PackedGradientTests
{
    private static readonly int[] Lengths = [17, 9, 23, 5, 12];

    public static TheoryData<string> Exports => [
        "", "nano-llama/dynamo-opset18", "nano-llama/torchscript-opset14", "nano-llama/torchscript-opset17", "nano-llama/optimum-with-past", "nano-llama/ort-extended",
        "nano-llama-hd16/genai-fp32-cpu", "nano-llama-hd16/genai-int4-cpu"];

    [Theory]
    [MemberData(nameof(Exports))]
    public void PackedGradients_EqualUnpackedOnes(string export)
    {
        Assert.SkipWhen(export.Length > 0 && Paths.SharedOrNull is null, "../shared is absent");
        string model = export.Length == 0 ? Paths.Fixture("nano-llama", "optimum-no-past.onnx") : Paths.Shared("exports", Path.Combine(export, "model.onnx"));
        string folder = Directory.CreateTempSubdirectory("sorsaort-").FullName;
        try
        {
            ArtifactBuilder.Build(new BuildOptions { ModelPath = model, OutputFolder = Path.Combine(folder, "artifacts"), Rank = 8 });
            var set = ArtifactSet.Open(Path.Combine(folder, "artifacts"), Verification.Full);
            Assert.True(set.Manifest.TakesSegments);
            using var engine = SessionEngine.Open(set, new EngineOptions { Threads = 1 });
            var (loss, gradient) = Run(engine, set, [[0], [1], [2], [3], [4]]);
            var (packedLoss, packedGradient) = Run(engine, set, [[2, 3, 1], [0, 4]]);
            Assert.Equal(loss, packedLoss, 1e-5 * loss);
            Assert.InRange(Distance(gradient, packedGradient), 0, 1e-5);
            // Were samples to see each other, it would show: all in one segment.
            var (leakedLoss, _) = Run(engine, set, [[2, 3, 1], [0, 4]], oneSegment: true);
            Assert.True(Math.Abs(leakedLoss - loss) > 1e-4 * loss, $"{leakedLoss} and {loss}");
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    private static (double Loss, float[] Gradient) Run(SessionEngine engine, ArtifactSet set, int[][] rows, bool oneSegment = false)
    {
        int width = rows.Max(r => r.Sum(i => Lengths[i]));
        long[] ids = new long[rows.Length * width], mask = new long[ids.Length], positions = new long[ids.Length];
        List<long> labelPositions = [], labelIds = [];
        for (int b = 0; b < rows.Length; b++)
        {
            int at = b * width;
            for (int s = 0; s < rows[b].Length; s++)
            {
                for (int t = 0; t < Lengths[rows[b][s]]; t++, at++)
                {
                    (ids[at], mask[at], positions[at]) = (3 + (rows[b][s] * 97 + t * 31) % 500, oneSegment ? 1 : s + 1, t);
                    if (t > 1)
                    {
                        labelPositions.Add(at - 1);
                        labelIds.Add(ids[at]);
                    }
                }
            }
        }
        var batch = new TokenBatch
        {
            BatchSize = rows.Length,
            SequenceLength = width,
            InputIds = ids,
            AttentionMask = mask,
            PositionIds = positions,
            LabelPositions = labelPositions.ToArray(),
            LabelIds = labelIds.ToArray(),
        };
        engine.DiscardGradients();
        double loss = engine.Accumulate(batch, 1.0 / labelIds.Count).Mean;
        return (loss, [.. Enumerable.Range(0, (int)set.Manifest.ParameterCount).Select(i => engine.Gradients[i])]);
    }

    private static double Distance(float[] expected, float[] actual) =>
        Math.Sqrt(expected.Zip(actual, (e, a) => Math.Pow((double)e - a, 2)).Sum() / expected.Sum(e => (double)e * e));
}
