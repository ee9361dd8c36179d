using System.Text.Json;
using SorsaOrt.Artifacts;
using SorsaOrt.GraphBuilder;
using SorsaOrt.Ir;
using SorsaOrt.Ir.Serialization;
using SorsaOrt.TestSupport;
using Xunit;

namespace SorsaOrt.Merge.Tests;

/// <summary>What merge changes in the user's file, and what it leaves alone.</summary>
public sealed class ModelMergerTests
{
    [Theory]
    [InlineData(AdapterMethod.Sorsa)]
    [InlineData(AdapterMethod.Pissa)]
    [InlineData(AdapterMethod.Lora)]
    [InlineData(AdapterMethod.Full)]
    public void NoStepTaken_GivesBackTheModel_ChangedInTargetWeightsOnly(AdapterMethod method)
    {
        var folder = Directory.CreateTempSubdirectory("sorsaort-").FullName;
        try
        {
            var (source, merged) = (Paths.Fixture("nano-llama", "optimum-no-past.onnx"), Path.Combine(folder, "merged.onnx"));
            ArtifactBuilder.Build(new BuildOptions { ModelPath = source, OutputFolder = Path.Combine(folder, "artifacts"), Rank = 8, Method = method });
            var artifacts = ArtifactSet.Open(Path.Combine(folder, "artifacts"), Verification.Full);
            Assert.Equal(35, ModelMerger.Merge(artifacts, null, merged, null, false).Weights);

            using var before = OnnxReader.Read(source);
            using var after = OnnxReader.Read(merged);
            var targets = artifacts.Manifest.Targets.Select(t => t.WeightName).ToHashSet();
            Assert.Equal(before.Graph.ToString(), after.Graph.ToString());
            Assert.Equal((before.IrVersion, before.ProducerName, before.ProducerVersion), (after.IrVersion, after.ProducerName, after.ProducerVersion));
            Assert.Equal(before.Opsets, after.Opsets);
            foreach (var (old, now) in before.Graph.Initializers.Zip(after.Graph.Initializers))
            {
                Assert.Equal(old.Name, now.Name);
                if (targets.Contains(old.Name))
                    Assert.All(old.Constant!.ToArray<float>().Zip(now.Constant!.ToArray<float>()), w => Assert.Equal(w.First, w.Second, 1e-6f));
                else
                    Assert.Equal(Bytes(old.Constant!), Bytes(now.Constant!));
            }
            Assert.Equal(new FileInfo(source).Length, new FileInfo(merged).Length);
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    /// <summary>q, k and v in one float16 weight [64, 256]: what is written there is rounded once, and k, which is no target, keeps its bytes.</summary>
    [Theory]
    [InlineData(AdapterMethod.Sorsa, ElementType.Float32)]
    [InlineData(AdapterMethod.Sorsa, ElementType.Float16)]
    [InlineData(AdapterMethod.Pissa, ElementType.BFloat16)]
    [InlineData(AdapterMethod.Sorsa, ElementType.Int8)]
    [InlineData(AdapterMethod.Full, ElementType.Float32)]
    public void PackedWeight_GivesBackTheModel_AndExactlyWhereNoTargetIs(AdapterMethod method, ElementType residual)
    {
        using var folder = new TemporaryFolder();
        var source = Paths.Fixture("exports", "nano-llama-hd16", "genai-fp16-cuda", "model.onnx");
        ArtifactBuilder.Build(new BuildOptions
        {
            ModelPath = source,
            OutputFolder = folder.At("artifacts"),
            Rank = 8,
            Method = method,
            Targets = "q_proj,v_proj",
            ResidualType = residual,
        });
        var artifacts = ArtifactSet.Open(folder.At("artifacts"), Verification.Full);
        Assert.Equal([0L, 192L], artifacts.Manifest.Targets.Take(2).Select(t => t.SliceStart!.Value));
        Assert.Equal(10, ModelMerger.Merge(artifacts, null, folder.At("merged.onnx"), null, false).Weights);
        using var before = OnnxReader.Read(source);
        using var after = OnnxReader.Read(folder.At("merged.onnx"));
        Assert.Equal(before.Graph.ToString(), after.Graph.ToString());
        foreach (var (old, now) in before.Graph.Initializers.Zip(after.Graph.Initializers))
        {
            if (!old.Name.Contains("qkv", StringComparison.Ordinal))
            {
                Assert.Equal(Bytes(old.Constant!), Bytes(now.Constant!));
                continue;
            }
            var (o, n) = (old.Constant!.ToFloat32()!, now.Constant!.ToFloat32()!);
            var tolerance = residual is ElementType.BFloat16 or ElementType.Int8 ? 4e-3f : residual == ElementType.Float16 ? 5e-4f : 0;
            for (var i = 0; i < o.Length; i++)
                Assert.Equal(o[i], n[i], i % 256 is >= 128 and < 192 ? 0 : tolerance * Math.Max(1, Math.Abs(o[i])));
        }
    }

    /// <summary><c>--dtype</c>: targets in that type behind a Cast, everything else as it was, and the logits within the type's rounding of the golden ones.</summary>
    [Theory]
    [InlineData("nano-llama/optimum-no-past", ElementType.Float16, 2e-3)]
    [InlineData("nano-llama/optimum-no-past", ElementType.BFloat16, 2e-2)]
    [InlineData("nano-llama-hd16/genai-fp16-cuda", ElementType.Float32, 2e-3)]
    public void StoredInAnotherType_OnlyTargetsAre_AndLogitsAreWithinItsRounding(string family, ElementType type, double tolerance)
    {
        Assert.SkipWhen(Exports.FolderOrNull(family) is null, "../shared/exports is absent");
        using var folder = new TemporaryFolder();
        ArtifactBuilder.Build(new BuildOptions { ModelPath = Exports.Model(family), OutputFolder = folder.At("artifacts"), Rank = 8 });
        var artifacts = ArtifactSet.Open(folder.At("artifacts"), Verification.Full);
        ModelMerger.Merge(artifacts, null, folder.At("merged.onnx"), type, false);
        using var before = OnnxReader.Read(Exports.Model(family));
        using var after = OnnxReader.Read(folder.At("merged.onnx"));
        var targets = artifacts.Manifest.Targets.Select(t => t.WeightName).ToHashSet();
        foreach (var old in before.Graph.Initializers)
        {
            var now = after.Graph.FindInitializer(old.Name);
            if (!targets.Contains(old.Name))
            {
                Assert.Equal(Bytes(old.Constant!), Bytes(now!.Constant!));
                continue;
            }
            Assert.Null(now);
            var stored = after.Graph.FindInitializer($"{old.Name}.{type.ShortName()}")!;
            Assert.Equal((type, old.Constant!.Shape.Count), (stored.ElementType, stored.Constant!.Shape.Count));
            var cast = Assert.Single(stored.Uses).Node;
            Assert.Equal(("Cast", old.ElementType), (cast.OpType, (ElementType)cast.Int("to", 0)));
        }
        Assert.Equal(before.Graph.Inputs.Select(i => (i.Name, i.ElementType)), after.Graph.Inputs.Select(i => (i.Name, i.ElementType)));
        Assert.Equal(before.Graph.Outputs.Select(o => (o.Name, o.ElementType)), after.Graph.Outputs.Select(o => (o.Name, o.ElementType)));
        if (!family.EndsWith("no-past", StringComparison.Ordinal))
            return;
        var inputs = GoldenInputs(before.Graph);
        var (golden, logits) = (Exports.Logits(family), OrtRun.Run(folder.At("merged.onnx"), inputs, ["logits"])["logits"].As<float>());
        var mask = inputs["attention_mask"].As<long>();
        // Row by row of tokens that are no padding.
        var worst = golden.Zip(logits, (g, l) => Math.Abs(g - l)).Chunk(golden.Length / mask.Length).Where((_, token) => mask[token] == 1).Max(row => row.Max());
        Assert.InRange(worst, 1e-7, tolerance * golden.Max(Math.Abs));
    }

    private static Dictionary<string, OrtTensor> GoldenInputs(Graph graph)
    {
        using var inputs = JsonDocument.Parse(File.ReadAllBytes(Paths.Fixture("nano-llama", "inputs.json")));
        return graph.Inputs.ToDictionary(i => i.Name, i =>
        {
            var rows = inputs.RootElement.GetProperty(i.Name);
            return OrtTensor.Of<long>([.. rows.EnumerateArray().SelectMany(r => r.EnumerateArray()).Select(v => v.GetInt64())], rows.GetArrayLength(), rows[0].GetArrayLength());
        });
    }

    [Fact]
    public void ExistingOutput_IsRefused_AndLeftAsItWas()
    {
        var folder = Directory.CreateTempSubdirectory("sorsaort-").FullName;
        try
        {
            ArtifactBuilder.Build(new BuildOptions { ModelPath = Paths.Fixture("nano-llama", "optimum-no-past.onnx"), OutputFolder = Path.Combine(folder, "artifacts"), Rank = 4 });
            var artifacts = ArtifactSet.Open(Path.Combine(folder, "artifacts"), Verification.Full);
            var output = Path.Combine(folder, "merged.onnx");
            File.WriteAllText(output, "keep me");
            Assert.Throws<OutputExistsException>(() => ModelMerger.Merge(artifacts, null, output, null, false));
            Assert.Equal("keep me", File.ReadAllText(output));
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    private static byte[] Bytes(Tensor tensor)
    {
        using var stream = new MemoryStream();
        tensor.WriteTo(stream);
        return stream.ToArray();
    }
}
