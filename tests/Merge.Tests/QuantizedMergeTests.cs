using SorsaOrt.Artifacts;
using SorsaOrt.GraphBuilder;
using SorsaOrt.Ir;
using SorsaOrt.Ir.Serialization;
using SorsaOrt.TestSupport;
using Xunit;

namespace SorsaOrt.Merge.Tests;

/// <summary>Merging into models whose weights arrived quantised.</summary>
public sealed class QuantizedMergeTests
{
    public static TheoryData<string> Forms => ["i8 Axis", "u8 Tensor", "i4 Block", "u4 Axis", "nbits 4 32", "nbits 4 16 zeros", "nbits 8 64 zeros",
        "nbits 4 32 f16", "nbits 8 64 zeros f16", "i8 Axis f16", "u4 Axis f16"];

    /// <summary>Before any training the merged file is the user's, byte for byte, and the cost is told as nothing.</summary>
    [Theory]
    [MemberData(nameof(Forms))]
    public void Untrained_GivesBackEveryByte(string form)
    {
        Assert.SkipWhen(form.EndsWith("f16", StringComparison.Ordinal) && Exports.FolderOrNull("nano-llama/optimum-fp16") is null, "../shared is absent");
        using var folder = new TemporaryFolder();
        QuantizedModels.Write(form, folder.At("q.onnx"));
        foreach (var (method, residual) in new (AdapterMethod, ElementType?)[] { (AdapterMethod.Sorsa, null), (AdapterMethod.Lora, null), (AdapterMethod.Sorsa, ElementType.Float32), (AdapterMethod.Full, null) })
        {
            var report = ModelMerger.Merge(Build(folder, method, residual), null, folder.At("merged.onnx"), null, true);
            Assert.Equal((35, 35), (report.Weights, report.Requantized.Count));
            Assert.All(report.Requantized, r => Assert.InRange(r.OfWeight, 0, 1e-6));
            Assert.All(report.Requantized, r => Assert.Equal(0, r.OfChange));
            using var before = OnnxReader.Read(folder.At("q.onnx"));
            using var after = OnnxReader.Read(folder.At("merged.onnx"));
            Assert.Equal(before.Graph.ToString(), after.Graph.ToString());
            foreach (var (old, now) in before.Graph.Initializers.Zip(after.Graph.Initializers))
                Assert.True(Bytes(old.Constant!).SequenceEqual(Bytes(now.Constant!)), $"{method}, {residual}: {old.Name}");
        }
    }

    /// <summary>The targets become floats and give what their integers stood for; everything else stays quantised or as it was.</summary>
    [Theory]
    [InlineData("u8 Tensor", ElementType.Float32, 2e-5)]
    [InlineData("i4 Block", ElementType.Float16, 2e-2)]
    [InlineData("nbits 4 16 zeros", ElementType.Float32, 2e-5)]
    [InlineData("nbits 8 64 zeros", ElementType.BFloat16, 0.2)]
    public void AsFloats_GivesTheModelOfTheDequantisedWeights(string form, ElementType type, double tolerance)
    {
        using var folder = new TemporaryFolder();
        QuantizedModels.Write(form, folder.At("q.onnx"));
        QuantizedModels.WriteFloats(folder.At("q.onnx"), folder.At("f.onnx"));
        var report = ModelMerger.Merge(Build(folder, AdapterMethod.Sorsa, null, "q_proj,up_proj,down_proj"), null, folder.At("merged.onnx"), type, false);
        Assert.Equal((15, 0), (report.Weights, report.Requantized.Count));
        using (var merged = OnnxReader.Read(folder.At("merged.onnx")))
        {
            using var before = OnnxReader.Read(folder.At("q.onnx"));
            static int Quantized(Model m) => m.Graph.Nodes.Count(n => n.OpType is "MatMulNBits" or "DequantizeLinear");
            Assert.Equal((35, 20), (Quantized(before), Quantized(merged)));
            Assert.Equal(15, merged.Graph.Initializers.Count(v => v.Name.EndsWith("." + type.ShortName(), StringComparison.Ordinal)));
            Assert.Equal(before.Graph.Outputs.Select(o => o.ToString()), merged.Graph.Outputs.Select(o => o.ToString()));
        }
        var (expected, actual) = (Logits(folder.At("f.onnx")), Logits(folder.At("merged.onnx")));
        Assert.InRange(expected.Zip(actual, (e, a) => Math.Abs((double)e - a)).Max(), 0, tolerance * expected.Max(Math.Abs));
    }

    /// <summary>Exporters store equal scales once: the weight that is merged gets its own, the other keeps them.</summary>
    [Fact]
    public void SharedScales_StayThoseOfTheOthers()
    {
        using var folder = new TemporaryFolder();
        QuantizedModels.Write("i8 Axis", folder.At("q.onnx"));
        const string Other = "/model/layers.1/self_attn/q_proj/MatMul", Target = "/model/layers.0/self_attn/q_proj/MatMul";
        static Node Dequantize(Model m, string product) => m.Graph.Nodes.First(n => n.Name == product).Inputs[1]!.Producer!;
        using (var model = OnnxReader.Read(folder.At("q.onnx")))
        {
            Dequantize(model, Other).SetInput(1, Dequantize(model, Target).Inputs[1]);
            model.Graph.RemoveUnused();
            File.WriteAllBytes(folder.At("shared.onnx"), OnnxWriter.ToBytes(model));
        }
        File.Move(folder.At("shared.onnx"), folder.At("q.onnx"), overwrite: true);
        ModelMerger.Merge(Build(folder, AdapterMethod.Sorsa, null, "model.layers.0.self_attn.q_proj"), null, folder.At("merged.onnx"), null, false);
        using var before = OnnxReader.Read(folder.At("q.onnx"));
        using var after = OnnxReader.Read(folder.At("merged.onnx"));
        Assert.NotEqual(Dequantize(after, Target).Inputs[1], Dequantize(after, Other).Inputs[1]);
        Assert.Equal(Dequantize(before, Other).Inputs[1]!.Name, Dequantize(after, Other).Inputs[1]!.Name);
        Assert.Equal(Bytes(Dequantize(before, Other).Inputs[1]!.Constant!), Bytes(Dequantize(after, Target).Inputs[1]!.Constant!));
        Assert.Equal(Logits(folder.At("q.onnx")), Logits(folder.At("merged.onnx")));
    }

    private static ArtifactSet Build(TemporaryFolder folder, AdapterMethod method, ElementType? residual, string targets = TargetSelection.Default)
    {
        ArtifactBuilder.Build(new BuildOptions { ModelPath = folder.At("q.onnx"), OutputFolder = folder.At("artifacts"), Rank = 8, Method = method, ResidualType = residual, Targets = targets, Force = true });
        return ArtifactSet.Open(folder.At("artifacts"), Verification.Full);
    }

    private static float[] Logits(string path)
    {
        long[] ids = [1, 403, 407, 261, 378, 9];
        long[] ones = [1, 1, 1, 1, 1, 1];
        using var model = OnnxReader.Read(path);
        var feeds = model.Graph.Inputs.ToDictionary(i => i.Name, i => OrtTensor.Of(i.Name switch { "input_ids" => ids, "attention_mask" => ones, _ => [0, 1, 2, 3, 4, 5] }, 1, 6));
        // Optimised, ONNX Runtime may quantise the activations of such products as well.
        return OrtRun.Run(path, feeds, optimize: false)["logits"].As<float>();
    }

    private static byte[] Bytes(Tensor tensor)
    {
        using var stream = new MemoryStream();
        tensor.WriteTo(stream);
        return stream.ToArray();
    }
}
