using Microsoft.ML.OnnxRuntime;
using SorsaOrt.Artifacts;
using SorsaOrt.Engines;
using SorsaOrt.GraphBuilder.Memory;
using SorsaOrt.Ir;
using SorsaOrt.Ir.Serialization;
using SorsaOrt.TestSupport;
using Xunit;

namespace SorsaOrt.GraphBuilder.Tests;

/// <summary>A residual of int8 or int4: the training of the model with those weights, which stay as they are stored.</summary>
public sealed class QuantizedResidualTests(ITestOutputHelper output)
{
    private static string Model => Paths.Fixture("nano-llama", "optimum-no-past.onnx");

    public static TheoryData<ElementType, AdapterMethod, Recomputation> Cases => new()
    {
        { ElementType.Int8, AdapterMethod.Sorsa, Recomputation.None },
        { ElementType.Int4, AdapterMethod.Sorsa, Recomputation.None },
        { ElementType.Int4, AdapterMethod.Pissa, Recomputation.Layer },
        { ElementType.Int4, AdapterMethod.Lora, Recomputation.None },
        { ElementType.Int8, AdapterMethod.Sorsa, Recomputation.Layer },
    };

    /// <summary>The same factors beside a float32 residual of the dequantised numbers: the same losses and gradients over steps of training.</summary>
    [Theory]
    [MemberData(nameof(Cases))]
    public void Training_IsThatOfTheDequantisedResidualInFloat32(ElementType type, AdapterMethod method, Recomputation recompute)
    {
        using var folder = new TemporaryFolder();
        var options = new BuildOptions { ModelPath = Model, OutputFolder = folder.At("q"), Rank = 8, Method = method, ResidualType = type, Recompute = recompute, Threads = 1 };
        ArtifactBuilder.Build(options);
        var quantized = ArtifactSet.Open(folder.At("q"), Verification.Full);
        WriteFactors(quantized, folder.At("factors.safetensors"));
        ArtifactBuilder.Build(options with { OutputFolder = folder.At("f"), ResidualType = ElementType.Float32, FactorFiles = [folder.At("factors.safetensors")] });
        FewSteps.Of(folder.At("f")).Equal(FewSteps.Of(folder.At("q")));
    }

    /// <summary>Parts of a packed weight, whose sizes are no multiples of a block, with biases.</summary>
    [Theory]
    [InlineData("gate_proj,up_proj,down_proj", ElementType.Int8, 0.03f)]
    [InlineData("up_proj", ElementType.Int8, 0.03f)]
    [InlineData("up_proj", ElementType.Int4, 0.5f)]
    public void PackedParts_HaveResidualsOfTheirOwn(string targets, ElementType type, float tolerance)
    {
        using var folder = new TemporaryFolder();
        var model = new TinyModel();
        model.Write(model.PackedMlp(model.Embeddings(), slices: false, bias: true), folder.At("model.onnx"));
        ArtifactBuilder.Build(new BuildOptions { ModelPath = folder.At("model.onnx"), OutputFolder = folder.At("a"), Rank = 4, Targets = targets, ResidualType = type });
        using var engine = SessionEngine.Open(ArtifactSet.Open(folder.At("a"), Verification.Full), new EngineOptions { Threads = 1, Training = false });
        var logits = engine.Logits(new TokenBatch { BatchSize = 2, SequenceLength = 3, InputIds = TinyModel.Ids, LabelPositions = [0, 1, 2, 3, 4, 5] }).ToArray();
        Assert.All(TinyModel.Logits(folder.At("model.onnx")).Zip(logits), p => Assert.Equal(p.First, p.Second, tolerance));
    }

    /// <summary>What ONNX Runtime makes of the graphs when it loads them: every residual still integers, and no other tensor as large as a target.</summary>
    [Theory]
    [InlineData(ElementType.Int8, Recomputation.None)]
    [InlineData(ElementType.Int4, Recomputation.Layer)]
    public void OptimisedGraphs_KeepTheResidualsAsIntegers(ElementType type, Recomputation recompute)
    {
        using var folder = new TemporaryFolder();
        ArtifactBuilder.Build(new BuildOptions { ModelPath = Model, OutputFolder = folder.At("a"), Rank = 8, ResidualType = type, Recompute = recompute, Threads = 1 });
        var set = ArtifactSet.Open(folder.At("a"), Verification.Full);
        foreach (var (file, times) in new[] { (ArtifactFiles.EvalModel, 1), (ArtifactFiles.TrainingModel, 2) })
        {
            using var optimised = Optimised(set.PathOf(file), folder.At("a/optimised.onnx"));
            var residuals = optimised.Graph.Initializers.Where(v => v.Constant!.ElementType == type).Select(v => v.Name).ToHashSet();
            Assert.Superset(set.Manifest.Targets.Select(t => t.ResidualName).ToHashSet(), residuals);
            var embedding = 512 * 64;
            Assert.DoesNotContain(optimised.Graph.Initializers, v => v.Constant!.ElementType.IsFloat() && v.Constant.ElementCount is >= 32 * 64 and not (512 * 64));
            Assert.InRange(optimised.Graph.Initializers.Count(v => v.Constant!.ElementCount == embedding), 0, 2);
            Assert.All(optimised.Graph.Nodes.Where(n => n.Is("DequantizeLinear")), n => Assert.Single(n.Output.Uses));
            Assert.True(optimised.Graph.Nodes.Count(n => n.Is("DequantizeLinear")) >= times * set.Manifest.Targets.Count - times * 4);
        }
    }

    [Fact]
    public void MemoryPlan_CountsTheQuantisedWeights()
    {
        long Frozen(ElementType type)
        {
            using var model = OnnxReader.Read(Model);
            return PlannedModel.Of(PreparedModel.From(model), new BuildOptions { ModelPath = Model, OutputFolder = "", Rank = 8, ResidualType = type }, new BatchLengths(2, 32, 8)).FrozenWeights;
        }
        const long Elements = 5 * (2L * 64 * 64 + 2 * 64 * 32 + 3 * 64 * 172);
        var (wide, bytes, halves) = (Frozen(ElementType.Float32), Frozen(ElementType.Int8), Frozen(ElementType.Int4));
        // Rows of 172 are five blocks and a part of one: a little more than a scale for 32 elements.
        Assert.InRange(wide - bytes, 4 * Elements - Elements - 4 * Elements / 30, 4 * Elements - Elements - 4 * Elements / 32);
        Assert.InRange(bytes - halves, Elements / 2 - 1024, Elements / 2 + 1024);
    }

    [Fact]
    public void Loss_IsReportedForEveryTarget()
    {
        using var folder = new TemporaryFolder();
        foreach (var (type, least, most) in new[] { (ElementType.Int8, 2e-3, 8e-3), (ElementType.Int4, 4e-2, 0.13) })
        {
            var report = ArtifactBuilder.Build(new BuildOptions { ModelPath = Model, OutputFolder = folder.At(type.ShortName()), Rank = 8, ResidualType = type });
            Assert.All(report.Targets, t => Assert.InRange(t.Loss!.Value.OfResidual, least, most));
            Assert.All(report.Targets, t => Assert.InRange(t.Loss!.Value.OfWeight, 0, t.Loss.Value.OfResidual));
            var manifest = ArtifactSet.Open(folder.At(type.ShortName()), Verification.Full).Manifest;
            Assert.Equal(report.Targets.Select(t => t.Loss?.OfResidual), manifest.Targets.Select(t => t.ResidualLoss));
            output.WriteLine($"{type}: {report.Targets.Average(t => t.Loss!.Value.OfResidual):g3} of Wr, {report.Targets.Average(t => t.Loss!.Value.OfWeight):g3} of W");
        }
    }

    private static Model Optimised(string path, string to)
    {
        using var options = OrtRun.Options();
        options.OptimizedModelFilePath = to;
        using (var session = new InferenceSession(path, options))
            Assert.NotEmpty(session.OutputNames);
        return OnnxReader.Read(to);
    }

    // A, S, B as built, and the residual as its integers say.
    private static void WriteFactors(ArtifactSet set, string path)
    {
        using var model = OnnxReader.Read(set.PathOf(ArtifactFiles.EvalModel));
        using var parameters = set.OpenParameters();
        var tensors = set.Manifest.Parameters.ToDictionary(p => p.Name, p => (p.Shape, Values: parameters.ReadFloats(p.Name)));
        foreach (var target in set.Manifest.Targets)
        {
            Tensor Stored(string name) => model.Graph.FindInitializer(name)!.Constant!;
            tensors[target.Module + ".Wr"] = ([target.Out, target.In],
                QuantizedMatrix.Of(Stored(target.ResidualName), Stored(target.ResidualName + ".scales"), null, 1, QuantizedMatrix.Block).ToFloat32());
        }
        using var stream = File.Create(path);
        var writer = new SafetensorsWriter(stream, [.. tensors.Select(t => new SafetensorsDeclaration(t.Key, SafetensorsType.F32, t.Value.Shape))]);
        foreach (var (name, tensor) in tensors)
            writer.Write(name, tensor.Values);
        writer.Complete();
    }
}
