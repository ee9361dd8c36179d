using Microsoft.ML.OnnxRuntime;
using SorsaOrt.Artifacts;
using SorsaOrt.Ir;
using SorsaOrt.Ir.Serialization;
using SorsaOrt.TestSupport;
using Xunit;

namespace SorsaOrt.GraphBuilder.Tests;

/// <summary>Models whose weights arrive quantised: trained as their dequantised copies are, with the integers left as they are.</summary>
public sealed class QuantizedWeightsTests
{
    private static string Floats => Paths.Fixture("nano-llama", "optimum-no-past.onnx");

    public static TheoryData<string> Forms => ["i8 Axis", "u8 Tensor", "i4 Block", "u4 Axis", "i8 Axis tied", "nbits 4 32", "nbits 4 16 zeros", "nbits 8 64 zeros", "nbits 8 128",
        "nbits 4 32 f16", "nbits 8 64 zeros f16", "i8 Axis f16", "u4 Axis f16", "i4 Block f16"];

    [Theory]
    [MemberData(nameof(Forms))]
    public void Training_IsThatOfTheDequantisedWeights(string form)
    {
        Assert.SkipWhen(form.EndsWith("f16", StringComparison.Ordinal) && Exports.FolderOrNull("nano-llama/optimum-fp16") is null, "../shared is absent");
        using var folder = new TemporaryFolder();
        QuantizedModels.Write(form, folder.At("q.onnx"));
        Compare(folder, new BuildOptions { ModelPath = folder.At("q.onnx"), OutputFolder = folder.At("q"), Rank = 8, Threads = 1 });
    }

    [Theory]
    [InlineData(AdapterMethod.Pissa, Recomputation.None, null)]
    [InlineData(AdapterMethod.Lora, Recomputation.Layer, null)]
    [InlineData(AdapterMethod.Sorsa, Recomputation.Layer, null)]
    [InlineData(AdapterMethod.Full, Recomputation.None, null)]
    [InlineData(AdapterMethod.Sorsa, Recomputation.None, ElementType.Float32)]
    [InlineData(AdapterMethod.Sorsa, Recomputation.None, ElementType.Float16)]
    [InlineData(AdapterMethod.Sorsa, Recomputation.None, ElementType.Int4)]
    public void MethodsAndResiduals_TrainAsOnTheDequantisedWeights(AdapterMethod method, Recomputation recompute, ElementType? residual)
    {
        using var folder = new TemporaryFolder();
        QuantizedModels.Write("nbits 4 32", folder.At("q.onnx"));
        Compare(folder, new BuildOptions { ModelPath = folder.At("q.onnx"), OutputFolder = folder.At("q"), Rank = 8, Threads = 1, Method = method, Recompute = recompute, ResidualType = residual });
    }

    /// <summary>The builder's own file: packed QKV, one table of 4-bit numbers for the head and the embedding.</summary>
    /// <remarks>Its heads are padded with zeros, whose gradients are rounding that Adam makes steps of; and rounding decides between two integers of a residual.</remarks>
    [Theory]
    [InlineData(AdapterMethod.Sorsa, "q_proj,v_proj,down_proj", null, 1e-5)]
    [InlineData(AdapterMethod.Sorsa, TargetSelection.Default, ElementType.Int8, 2e-2)]
    [InlineData(AdapterMethod.Full, "o_proj", null, 1e-5)]
    [InlineData(AdapterMethod.Pissa, TargetSelection.Default, null, 1e-3)]
    public void GenAiBuilder_TrainsAsItsDequantisedWeights(AdapterMethod method, string targets, ElementType? residual, double tolerance)
    {
        Assert.SkipWhen(Paths.SharedOrNull is null, "../shared is absent");
        using var folder = new TemporaryFolder();
        Compare(folder, new BuildOptions { ModelPath = Exports.Model(Exports.Quantized[0]), OutputFolder = folder.At("q"), Rank = 8, Threads = 1, Method = method, Targets = targets, ResidualType = residual }, tolerance);
    }

    /// <summary>What ONNX Runtime makes of the training graph when it loads it: weights still integers, and no float tensor of the size of one.</summary>
    [Theory]
    [InlineData("i8 Axis tied", ElementType.Int8, 0)]
    [InlineData("nbits 4 32", ElementType.UInt4, 1)]
    public void OptimisedGraphs_KeepTheWeightsAsIntegers(string form, ElementType type, int tables)
    {
        using var folder = new TemporaryFolder();
        QuantizedModels.Write(form, folder.At("q.onnx"));
        ArtifactBuilder.Build(new BuildOptions { ModelPath = folder.At("q.onnx"), OutputFolder = folder.At("q"), Rank = 8, Threads = 1 });
        foreach (var file in new[] { ArtifactFiles.EvalModel, ArtifactFiles.TrainingModel })
        {
            using var options = OrtRun.Options();
            options.OptimizedModelFilePath = folder.At("q/optimised.onnx");
            using (var session = new InferenceSession(folder.At("q/" + file), options))
                Assert.NotEmpty(session.OutputNames);
            using var optimised = OnnxReader.Read(options.OptimizedModelFilePath);
            Assert.True(optimised.Graph.Initializers.Count(v => v.Constant!.ElementType == type && v.Constant.ElementCount >= 32 * 64) >= 35);
            // The start's factors are as large as 8 rows of a weight; the table of floats may be there once.
            Assert.Equal(tables, optimised.Graph.Initializers.Count(v => v.Constant!.ElementType.IsFloat() && v.Constant.ElementCount >= 32 * 64));
        }
    }

    [Fact]
    public void Artifacts_SayThatTheWeightsStay()
    {
        using var folder = new TemporaryFolder();
        QuantizedModels.Write("nbits 4 32", folder.At("q.onnx"));
        var report = ArtifactBuilder.Build(new BuildOptions { ModelPath = folder.At("q.onnx"), OutputFolder = folder.At("q"), Rank = 8 });
        Assert.All(report.Targets, t => Assert.Equal((ElementType.UInt4, null), (t.StoredType, t.Loss)));
        var manifest = ArtifactSet.Open(folder.At("q"), Verification.Full).Manifest;
        Assert.Equal(Manifest.StoredResidual, manifest.ResidualType);
        Assert.All(manifest.Targets, t => Assert.Equal((true, "u4", t.WeightName), (t.StaysStored, t.ElementType, t.ResidualName)));
        using var model = OnnxReader.Read(Floats);
        Assert.Equal(ExportFamily.Parameters(model), report.Parameters);
        // 4 bits and a scale for 32 of them, once: training reads the bytes that merge reads.
        Assert.InRange(new FileInfo(folder.At("q/" + ArtifactFiles.FrozenData)).Length, 0, 1_000_000);
    }

    [Fact]
    public void TiedTable_IsRefusedAsATarget()
    {
        using var folder = new TemporaryFolder();
        QuantizedModels.Write("i8 Axis tied", folder.At("q.onnx"));
        var options = new BuildOptions { ModelPath = folder.At("q.onnx"), OutputFolder = folder.At("q"), Rank = 8, Targets = "lm_head" };
        Assert.Contains("is also read by", Assert.Throws<TargetException>(() => ArtifactBuilder.Build(options)).Message, StringComparison.Ordinal);
        Assert.False(Directory.Exists(folder.At("q")));
    }

    [Theory]
    [InlineData("bits", 2, typeof(UnsupportedGraphException), "weights of 2 bits")]
    [InlineData("bits", 8, typeof(ModelFormatException), "takes u8[64,2,32], 4096 bytes")]
    [InlineData("block_size", 24, typeof(ModelFormatException), "no power of two")]
    [InlineData("block_size", 64, typeof(ModelFormatException), "scales")]
    [InlineData("K", 128, typeof(ModelFormatException), "u8[64,4,16]")]
    [InlineData("N", 0, typeof(ModelFormatException), "K 64 and N 0")]
    [InlineData("weight_prepacked", 1, typeof(UnsupportedGraphException), "prepacking")]
    public void MalformedProducts_AreRefusedByName(string attribute, long value, Type refusal, string reason)
    {
        using var folder = new TemporaryFolder();
        QuantizedModels.Write("nbits 4 32", folder.At("q.onnx"));
        using (var model = OnnxReader.Read(folder.At("q.onnx")))
        {
            model.Graph.Nodes.First(n => n.OpType == "MatMulNBits").Attributes[attribute] = NodeAttribute.Of(attribute, value);
            File.WriteAllBytes(folder.At("bad.onnx"), OnnxWriter.ToBytes(model));
        }
        var told = Assert.Throws(refusal, () => ArtifactBuilder.Build(new BuildOptions { ModelPath = folder.At("bad.onnx"), OutputFolder = folder.At("a"), Rank = 4 }));
        Assert.Contains(reason, told.Message, StringComparison.Ordinal);
        Assert.Contains("/model/layers.0/self_attn/q_proj/MatMul_Q4", told.Message, StringComparison.Ordinal);
        Assert.False(Directory.Exists(folder.At("a")));
    }

    [Fact]
    public void ProductsOfIntegers_AreRefusedInWords()
    {
        using var folder = new TemporaryFolder();
        var model = new TinyModel();
        var x = model.PackedMlp(model.Embeddings(), slices: false, bias: false);
        var q = model.Op.Emit("DynamicQuantizeMatMul", "com.microsoft", 1, [x, model.Weight("w", TinyModel.Inner, TinyModel.Inner), model.Weight("s", 1)])[0];
        q.Type = x.Type;
        model.Write(q, folder.At("model.onnx"));
        var options = new BuildOptions { ModelPath = folder.At("model.onnx"), OutputFolder = folder.At("a"), Rank = 4, Targets = "all-linear" };
        var told = Assert.Throws<UnsupportedGraphException>(() => ArtifactBuilder.Build(options));
        Assert.Contains("DynamicQuantizeMatMul", told.Message, StringComparison.Ordinal);
        Assert.Contains(q.Producer!.Name, told.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void OfficialFormat_IsRefused()
    {
        using var folder = new TemporaryFolder();
        QuantizedModels.Write("nbits 4 32", folder.At("q.onnx"));
        var options = new BuildOptions { ModelPath = folder.At("q.onnx"), OutputFolder = folder.At("a"), Rank = 4, Format = ArtifactFormat.Both };
        Assert.Contains("use --format ort", Assert.Throws<TargetException>(() => ArtifactBuilder.Build(options)).Message, StringComparison.Ordinal);
    }

    // Weights [out, in] and [in, out] are decomposed to the same factors up to rounding.
    private static void Compare(TemporaryFolder folder, BuildOptions options, double tolerance = 3e-5)
    {
        QuantizedModels.WriteFloats(options.ModelPath, folder.At("f.onnx"));
        ArtifactBuilder.Build(options);
        ArtifactBuilder.Build(options with { ModelPath = folder.At("f.onnx"), OutputFolder = folder.At("f") });
        FewSteps.Of(folder.At("f")).Equal(FewSteps.Of(folder.At("q")), tolerance);
    }
}
