using SorsaOrt.Artifacts;
using SorsaOrt.Engines;
using SorsaOrt.GraphBuilder.Memory;
using SorsaOrt.Ir;
using SorsaOrt.Ir.Serialization;
using SorsaOrt.TestSupport;
using Xunit;

namespace SorsaOrt.GraphBuilder.Tests;

/// <summary>Recomputed layers give the same gradients and keep less, whoever exported the model.</summary>
public sealed class RecomputationTests
{
    private const int Layers = 5;

    public static TheoryData<string> Families => [.. Paths.SharedOrNull is null ? ["fixture"] : (string[])["fixture",
        .. new[] { "optimum-with-past", "torchscript-opset14", "torchscript-opset17", "dynamo-opset18", "ort-extended", "genai-fp16-dml", "nano-llama-hd16/genai-fp32-cpu", "nano-llama-hd16/genai-fp32-cpu-unfused", "nano-llama-hd16/genai-fp16-cuda", "nano-llama-hd16/genai-int4-cpu" }]];

    [Theory]
    [MemberData(nameof(Families))]
    public void Layer_GivesTheSameGradients_InLessMemory(string family)
    {
        using var folder = new TemporaryFolder();
        var model = family == "fixture" ? Paths.Fixture("nano-llama", "optimum-no-past.onnx") : Paths.Shared("exports", family.Contains('/', StringComparison.Ordinal) ? family : "nano-llama/" + family, "model.onnx");
        if (!File.Exists(model))
            Assert.Skip($"{model} is absent");
        var kept = Build(model, folder.At("none"), Recomputation.None);
        var again = Build(model, folder.At("layer"), Recomputation.Layer);
        Assert.Equal(Recomputation.Layer, again.Manifest.Recompute);

        var (expectedLoss, expected) = Gradients(kept);
        var (loss, gradients) = Gradients(again);
        Assert.Equal(expectedLoss, loss);
        var difference = Math.Sqrt(expected.Zip(gradients, (e, a) => Math.Pow((double)e - a, 2)).Sum());
        Assert.InRange(difference / Math.Sqrt(expected.Sum(e => (double)e * e)), 0, 1e-6);

        var lengths = new BatchLengths(1, 2048, 1024);
        var (most, less) = (Activations(kept, lengths), Activations(again, lengths));
        Assert.Equal((0, 0), (most.UnknownValues, less.UnknownValues));
        Assert.InRange(less.PeakBytes, 1, most.PeakBytes * 2 / 3);
    }

    [Fact]
    public void Layer_CopiesStandBehindAGate_OneForEachHalfOfEachLayerButTheLast()
    {
        using var folder = new TemporaryFolder();
        var set = Build(Paths.Fixture("nano-llama", "optimum-no-past.onnx"), folder.At("layer"), Recomputation.Layer);
        using var model = OnnxReader.Read(set.PathOf(ArtifactFiles.TrainingModel));
        var gates = model.Graph.Nodes.Where(n => n.Is("Reshape") && n.Name.StartsWith("sorsa/again/", StringComparison.Ordinal)
            && n.Inputs[1]!.Producer is { } shape && shape.Is("Shape") && shape.Name.StartsWith("sorsa/again/", StringComparison.Ordinal)).ToList();
        Assert.Equal(2 * (Layers - 1), gates.Count);
        Assert.Equal(Layers + Layers - 1, model.Graph.Nodes.Count(n => n.Is("Softmax")));
    }

    [Fact]
    public void Layer_NeedsLessThanHalfTheActivations_OfADeepModelAtALength2048()
    {
        using var folder = new TemporaryFolder();
        new RandomLlama { Layers = 16 }.Write(folder.At("model.onnx"));
        var lengths = new BatchLengths(1, 2048, 1024);
        var kept = Activations(Build(folder.At("model.onnx"), folder.At("none"), Recomputation.None), lengths);
        var again = Activations(Build(folder.At("model.onnx"), folder.At("layer"), Recomputation.Layer), lengths);
        Assert.InRange(again.PeakBytes, 1, kept.PeakBytes / 2);
    }

    [Fact]
    public void Layer_IsRefusedWhereNoEmbeddingIsFound()
    {
        var graph = new Graph("g");
        var op = new OpBuilder(graph);
        var x = graph.AddInput("input_ids", new TensorType(ElementType.Int64, [2, 3]));
        var w = graph.AddInput("w", new TensorType(ElementType.Float32, [1]));
        var loss = op.ReduceSum(op.Mul(op.Cast(x, ElementType.Float32), w), keepDims: false);
        graph.Rename(loss, LossAndGradients.LossSum);
        graph.AddOutput(loss);
        var refusal = Assert.Throws<UnsupportedGraphException>(() => LossAndGradients.AddGradients(graph, op, [w], Recomputation.Layer));
        Assert.Contains("--recompute none", refusal.Message, StringComparison.Ordinal);
    }

    private static ArtifactSet Build(string model, string folder, Recomputation recompute)
    {
        ArtifactBuilder.Build(new BuildOptions { ModelPath = model, OutputFolder = folder, Rank = 8, Recompute = recompute, Threads = 1 });
        return ArtifactSet.Open(folder, Verification.Sizes);
    }

    private static ActivationMemory Activations(ArtifactSet set, BatchLengths lengths)
    {
        using var model = OnnxReader.Read(set.PathOf(ArtifactFiles.TrainingModel));
        return ActivationMemory.Of(model.Graph, lengths);
    }

    private static (double Loss, float[] Gradients) Gradients(ArtifactSet set)
    {
        using var engine = SessionEngine.Open(set, new EngineOptions { Threads = 1 });
        const int Rows = 2, Length = 24;
        long[] ids = [.. Enumerable.Range(0, Rows * Length).Select(i => (long)(i * 37 % 511))];
        long[] places = [.. Enumerable.Range(0, Rows * Length).Where(i => i % Length is >= 5 and < Length - 1).Select(i => (long)i)];
        long[] labels = [.. places.Select(p => ids[p + 1])];
        var result = engine.Accumulate(new TokenBatch { BatchSize = Rows, SequenceLength = Length, InputIds = ids, LabelPositions = places, LabelIds = labels }, 1.0 / labels.Length);
        return (result.Mean, engine.Gradients.Slice(0, (int)engine.Gradients.Length).ToArray());
    }
}
