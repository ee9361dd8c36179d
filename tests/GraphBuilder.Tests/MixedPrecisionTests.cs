using Microsoft.ML.OnnxRuntime;
using SorsaOrt.Artifacts;
using SorsaOrt.Engines;
using SorsaOrt.GraphBuilder.Memory;
using SorsaOrt.Ir;
using SorsaOrt.Ir.Serialization;
using SorsaOrt.TestSupport;
using Xunit;

namespace SorsaOrt.GraphBuilder.Tests;

/// <summary>Artifacts of --compute-dtype fp16 and bf16: which nodes are narrow, and that training comes to what float32 comes to.</summary>
/// <remarks>ONNX Runtime's CPU provider converts around float16 nodes that it has no kernel for, so float16 graphs run here. bfloat16 ones do not: their structure is compared.</remarks>
public sealed class MixedPrecisionTests(ITestOutputHelper output)
{
    private const int Layers = 5;

    private static readonly HashSet<string> AlwaysWide = ["SimplifiedLayerNormalization", "Softmax", "LogSoftmax", "ReduceSum", "ReduceMean", "ReduceSumSquare",
        "Exp", "Sqrt", "Reciprocal", "Sin", "Cos", "Where", "IsNaN", "GatherElements", "ScatterElements", "ScatterND"];

    private static string Model => Paths.Fixture("nano-llama", "optimum-no-past.onnx");

    public static TheoryData<string> Families => [.. Exports.Float32, .. Exports.Narrow, .. Exports.Quantized];

    [Theory]
    [InlineData(ElementType.Float16, Recomputation.None)]
    [InlineData(ElementType.Float16, Recomputation.Layer)]
    [InlineData(ElementType.BFloat16, Recomputation.None)]
    public void ProductsOfFrozenWeightsAndOfAttentionAreNarrow_AllElseIsFloat32(ElementType type, Recomputation recompute)
    {
        using var folder = new TemporaryFolder();
        var set = Build(folder.At("a"), type, recompute: recompute);
        Assert.Equal(type.ShortName(), set.Manifest.ComputeType);
        using var model = Training(set);
        var graph = model.Graph;
        Assert.All(graph.Nodes.Where(n => AlwaysWide.Contains(n.OpType)), n => Assert.DoesNotContain(type, n.Inputs.Concat(n.Outputs).OfType<Value>().Select(v => v.ElementType)));
        Assert.All(graph.Inputs.Concat(graph.Outputs).Where(v => v.ElementType.IsFloat()), v => Assert.Equal(ElementType.Float32, v.ElementType));
        // Adapters, and the sums over tokens that are their gradients.
        var ofFactors = graph.Nodes.Where(n => n.Is("Gemm") && n.Inputs.Take(2).Any(i => IsFactor(i!)) || n.Is("Gemm") && n.Int("transA", 0) == 1).ToList();
        Assert.InRange(ofFactors.Count, 7 * Layers * 4, int.MaxValue);
        Assert.All(ofFactors, n => Assert.Equal(ElementType.Float32, n.Output.ElementType));
        // Each frozen matrix forward; backward all but q, k and v of the first layer, below which nothing is trained.
        var products = graph.Nodes.Where(n => n.Is("Gemm") && n.Inputs[1] is { } weight && Stored(weight) is { Constant.Shape.Count: 2 }).ToList();
        Assert.All(products, n => Assert.Equal(type, n.Output.ElementType));
        var attention = graph.Nodes.Where(n => n.Is("MatMul") && n.Inputs.All(i => i!.Shape?.Count == 4)).ToList();
        Assert.Equal(recompute == Recomputation.None ? 6 * Layers : 6 * Layers + 2 * Layers - 2, attention.Count);
        Assert.All(attention, n => Assert.Equal(type, n.Output.ElementType));
        if (recompute == Recomputation.None)
            Assert.Equal(7 * Layers + 1 + (7 * Layers - 3 + 1), products.Count);

        static bool IsFactor(Value value) => value.Name.EndsWith(".A", StringComparison.Ordinal) || value.Name.EndsWith(".B", StringComparison.Ordinal)
            || value.Producer is { } concat && concat.Is("Concat") && concat.Inputs.All(i => IsFactor(i!));
    }

    [Fact]
    public void NoCastUndoesAnother_AndEachValueIsCastOnceToAType()
    {
        using var folder = new TemporaryFolder();
        using var model = Training(Build(folder.At("a"), ElementType.Float16));
        var casts = model.Graph.Nodes.Where(n => n.Is("Cast") && n.Inputs[0]!.ElementType.IsFloat() && n.Output.ElementType.IsFloat()).ToList();
        Assert.InRange(casts.Count, 100, 250);
        Assert.DoesNotContain(casts, n => n.Inputs[0]!.Producer is { } before && before.Is("Cast"));
        Assert.Equal(casts.Count, casts.Select(n => (n.Inputs[0], n.Output.ElementType)).Distinct().Count());
    }

    /// <summary>A residual stored as float16 is what the product reads: no wide copy of it.</summary>
    [Fact]
    public void NarrowResidual_IsReadAsItIsStored()
    {
        using var folder = new TemporaryFolder();
        var set = Build(folder.At("a"), ElementType.Float16, residual: ElementType.Float16);
        using var model = Training(set);
        Assert.All(set.Manifest.Targets, t => Assert.All(model.Graph.FindInitializer(t.ResidualName)!.Uses, u => Assert.True(u.Node.Is("Gemm"), u.Node.ToString())));
        FewSteps.Of(Build(folder.At("f"), ElementType.Float32, residual: ElementType.Float16).Folder).Near(FewSteps.Of(set.Folder), losses: 1e-3, gradients: 5e-3, output);
    }

    /// <summary>bfloat16 differs from float16 in the type alone.</summary>
    [Theory]
    [InlineData(Recomputation.None)]
    [InlineData(Recomputation.Layer)]
    public void BFloat16Graph_IsTheFloat16GraphInAnotherType(Recomputation recompute)
    {
        using var folder = new TemporaryFolder();
        string Text(ElementType type)
        {
            using var model = Training(Build(folder.At(type.ShortName()), type, recompute: recompute));
            return model.Graph.ToString().Replace(type.ShortName(), "narrow", StringComparison.Ordinal).Replace($"to={(int)type}", "to=narrow", StringComparison.Ordinal);
        }
        Assert.Equal(Text(ElementType.Float16), Text(ElementType.BFloat16));
    }

    /// <summary>What docs/devices.md says; where a newer ONNX Runtime runs it, the refusal in SessionEngine can go.</summary>
    [Fact]
    public void BFloat16Graph_HasNoKernelsOnTheCpu()
    {
        using var folder = new TemporaryFolder();
        var set = Build(folder.At("a"), ElementType.BFloat16);
        var refusal = Assert.Throws<EngineException>(() => SessionEngine.Open(set, new EngineOptions { Threads = 1 }));
        Assert.Contains("--compute-dtype bf16", refusal.Message, StringComparison.Ordinal);
        Assert.True(refusal.IsModelRefused);
        using var options = OrtRun.Options();
        var error = Assert.ThrowsAny<OnnxRuntimeException>(() => new InferenceSession(set.PathOf(ArtifactFiles.TrainingModel), options));
        output.WriteLine(error.Message);
    }

    public static TheoryData<AdapterMethod, Recomputation, ElementType?> Trainings => new()
    {
        { AdapterMethod.Sorsa, Recomputation.None, null },
        { AdapterMethod.Sorsa, Recomputation.Layer, null },
        { AdapterMethod.Pissa, Recomputation.None, null },
        { AdapterMethod.Lora, Recomputation.None, null },
        { AdapterMethod.Sorsa, Recomputation.None, ElementType.Int8 },
        { AdapterMethod.Sorsa, Recomputation.Layer, ElementType.Int4 },
    };

    /// <summary>Losses of steps of training, and the gradients after them, against the same artifacts in float32.</summary>
    [Theory]
    [MemberData(nameof(Trainings))]
    public void Float16Training_IsThatOfFloat32_UpToItsRounding(AdapterMethod method, Recomputation recompute, ElementType? residual)
    {
        using var folder = new TemporaryFolder();
        var wide = Build(folder.At("wide"), ElementType.Float32, method, recompute, residual);
        var narrow = Build(folder.At("narrow"), ElementType.Float16, method, recompute, residual);
        FewSteps.Of(wide.Folder).Near(FewSteps.Of(narrow.Folder), losses: 1e-3, gradients: 5e-3, output);
    }

    /// <summary>Not to the last bit: ONNX Runtime's CPU provider leaves out some roundings between float16 nodes, in either graph others.</summary>
    [Fact]
    public void RecomputedLayers_GiveTheGradientsOfKeptOnes()
    {
        using var folder = new TemporaryFolder();
        FewSteps.Of(Build(folder.At("none"), ElementType.Float16).Folder).Near(FewSteps.Of(Build(folder.At("layer"), ElementType.Float16, recompute: Recomputation.Layer).Folder), losses: 1e-3, gradients: 5e-3, output);
    }

    /// <summary>Every exporter's graph, its weights stored in whatever type: the types fit each other, ONNX Runtime loads it, and the loss is that of float32.</summary>
    [Theory]
    [MemberData(nameof(Families))]
    public void EveryFamily_TrainsInFloat16(string family)
    {
        Assert.SkipWhen(Exports.FolderOrNull(family) is null, "../shared is absent");
        using var folder = new TemporaryFolder();
        ArtifactSet Of(string name, ElementType type)
        {
            ArtifactBuilder.Build(new BuildOptions { ModelPath = Exports.Model(family), OutputFolder = folder.At(name), Rank = 4, ComputeType = type, Threads = 1 });
            return ArtifactSet.Open(folder.At(name), Verification.Sizes);
        }
        var narrow = Of("narrow", ElementType.Float16);
        FewSteps.Of(Of("wide", ElementType.Float32).Folder).Near(FewSteps.Of(narrow.Folder), losses: 2e-3, gradients: 1e-2, output);
        using var model = Training(narrow);
        Assert.All(model.Graph.Nodes.Where(n => AlwaysWide.Contains(n.OpType)), n => Assert.DoesNotContain(ElementType.Float16, n.Inputs.OfType<Value>().Select(v => v.ElementType)));
        // Of softmax the 16 bits are kept for the backward pass, and nothing else in its shape: neither its own result nor which of it was NaN.
        var attention = model.Graph.Nodes.Where(n => n.Is("Softmax")).ToList();
        Assert.Equal(Layers, attention.Count);
        Assert.All(attention, n => Assert.True(IsNarrowedAlone(n.Output), n.ToString()));
        Assert.InRange(model.Graph.Nodes.Count(n => n.OpType is "Gemm" or "MatMul" or "FusedMatMul" && n.Output.ElementType == ElementType.Float16), 15 * Layers, int.MaxValue);
    }

    /// <summary>Of each attention's probabilities and of what adapters read float16 stays; the residual stream and the loss are what is left in float32.</summary>
    [Fact]
    public void Activations_TakeMuchLessThanInFloat32()
    {
        using var folder = new TemporaryFolder();
        new RandomLlama { Layers = 8 }.Write(folder.At("model.onnx"));
        var lengths = new BatchLengths(2, 256, 256);
        long Peak(ElementType type)
        {
            using var model = OnnxReader.Read(folder.At("model.onnx"));
            return PlannedModel.Of(PreparedModel.From(model), new BuildOptions { ModelPath = "", OutputFolder = "", Rank = 8, ComputeType = type }, lengths).Activations.PeakBytes;
        }
        var (wide, narrow) = (Peak(ElementType.Float32), Peak(ElementType.Float16));
        output.WriteLine($"{wide >> 10} KB in float32, {narrow >> 10} KB in float16: {(double)narrow / wide:0.000}");
        Assert.InRange((double)narrow / wide, 0.5, 0.8);
    }

    private static ArtifactSet Build(string folder, ElementType type, AdapterMethod method = AdapterMethod.Sorsa, Recomputation recompute = Recomputation.None, ElementType? residual = null)
    {
        ArtifactBuilder.Build(new BuildOptions { ModelPath = Model, OutputFolder = folder, Rank = 8, Method = method, Recompute = recompute, ResidualType = residual, ComputeType = type, Threads = 1 });
        return ArtifactSet.Open(folder, Verification.Sizes);
    }

    private static Model Training(ArtifactSet set)
    {
        var model = OnnxReader.Read(set.PathOf(ArtifactFiles.TrainingModel));
        ShapeInference.Infer(model.Graph);
        return model;
    }

    private static bool IsNarrowedAlone(Value value) => value.Uses.All(u => u.Node.Is("Cast") ? u.Node.Output.ElementType == ElementType.Float16
        : u.Node.Is("Shape") || u.Node.OpType is "IsNaN" or "Where" or "Reshape" && IsNarrowedAlone(u.Node.Output));

    private static Value Stored(Value value)
    {
        while (value.Producer is { } node && (node.Is("Cast") || node.Is("Transpose")))
            value = node.Inputs[0]!;
        return value;
    }
}
