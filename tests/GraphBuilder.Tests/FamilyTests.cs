using System.Globalization;
using System.Text.Json;
using SorsaOrt.Artifacts;
using SorsaOrt.Engines;
using SorsaOrt.Ir.Serialization;
using SorsaOrt.TestSupport;
using Xunit;

namespace SorsaOrt.GraphBuilder.Tests;

/// <summary>Every exporter's form of one model: its Linears against the answer key, and where training starts against the golden logits.</summary>
public sealed class FamilyTests(ITestOutputHelper output)
{
    public static TheoryData<string> All => [.. Exports.Float32, .. Exports.Narrow, .. Exports.Quantized];

    [Theory]
    [MemberData(nameof(All))]
    public void EveryLinear_HasTheModuleOfTheAnswerKey(string family)
    {
        Skip(family);
        using var model = OnnxReader.Read(Exports.Model(family));
        CompareWithKey(family, PreparedModel.From(model).Sites, name => name);
    }

    /// <summary>ort-extended lists nodes depth-first, k before q: neither order nor names may matter.</summary>
    [Theory]
    [MemberData(nameof(All))]
    public void EveryLinear_WithoutAnyName_HasTheModuleOfTheAnswerKey(string family)
    {
        Skip(family);
        using var model = OnnxReader.Read(Exports.Model(family));
        var names = new Dictionary<string, string>(StringComparer.Ordinal);
        foreach (var value in model.Graph.Initializers.ToArray())
        {
            names[value.Name] = $"w{names.Count}";
            model.Graph.Rename(value, names[value.Name]);
        }
        foreach (var node in model.Graph.Nodes)
        {
            node.Name = "";
            node.Metadata.Clear();
        }
        CompareWithKey(family, PreparedModel.From(model).Sites, name => names[name]);
    }

    [Theory]
    [MemberData(nameof(All))]
    public void NoStepTaken_GivesTheGoldenLogits(string family)
    {
        Skip(family);
        using var folder = new TemporaryFolder();
        ArtifactBuilder.Build(new BuildOptions { ModelPath = Exports.Model(family), OutputFolder = folder.At("artifacts"), Rank = 8 });
        using var engine = SessionEngine.Open(ArtifactSet.Open(folder.At("artifacts"), Verification.Full), new EngineOptions { Threads = 1, Training = false });
        using var inputs = JsonDocument.Parse(File.ReadAllBytes(Paths.Fixture("nano-llama", "inputs.json")));
        long[] Flat(string name) => [.. inputs.RootElement.GetProperty(name).EnumerateArray().SelectMany(r => r.EnumerateArray()).Select(v => v.GetInt64())];
        var mask = Flat("attention_mask");
        var batch = new TokenBatch
        {
            BatchSize = 2,
            SequenceLength = 13,
            InputIds = Flat("input_ids"),
            AttentionMask = mask,
            LabelPositions = [.. Enumerable.Range(0, 26).Select(i => (long)i)],
        };
        var actual = engine.Logits(batch);
        var golden = Exports.Logits(family);
        var worst = 0.0;
        for (var i = 0; i < actual.Length; i++)
        {
            if (mask[i / 512] == 1)
                worst = Math.Max(worst, Math.Abs((double)actual[i] - golden[i]));
        }
        output.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{family}: {worst:0.0e+0}"));
        Assert.InRange(worst, 0, Tolerance(family));
    }

    [Theory]
    [InlineData("nano-llama/optimum-with-past", "TorchScript (torch.onnx or optimum), with cache")]
    [InlineData("nano-llama/optimum-fp16", "TorchScript (torch.onnx or optimum), fp16")]
    [InlineData("nano-llama/ort-optimizer", "onnxruntime.transformers.optimizer")]
    [InlineData("nano-llama/ort-extended", "saved by an ONNX Runtime session after optimisation")]
    [InlineData("nano-llama/dynamo-opset23", "torch.onnx (dynamo)")]
    [InlineData("nano-llama/dynamo-opset18-bf16-stripped", "torch.onnx (dynamo), metadata stripped, bf16")]
    [InlineData("nano-llama/genai-fp16-dml", "ORT GenAI builder, fp16")]
    [InlineData("nano-llama-hd16/genai-int4-cpu", "ORT GenAI builder, int4")]
    public void Exporter_IsRecognised(string family, string description)
    {
        Skip(family);
        using var model = OnnxReader.Read(Exports.Model(family));
        Assert.Equal(description, ExportFamily.Describe(model));
    }

    /// <summary>Shared tensors are seen whichever end holds the Transpose, and so are two that hold the same numbers.</summary>
    [Theory]
    [MemberData(nameof(All))]
    public void TiedHead_IsSeen_AndRefusedAsATargetWhereOneTensorServesBoth(string family)
    {
        Skip(family);
        using var key = Exports.Key(family);
        var shared = key.RootElement.GetProperty("embedding").GetProperty("same_initializer_as_lm_head").GetBoolean();
        using (var model = OnnxReader.Read(Exports.Model(family)))
        {
            var prepared = PreparedModel.From(model);
            Assert.All(prepared.Sites, s => Assert.Equal(s.Role != "lm_head" ? Tie.None : shared ? Tie.Shared : Tie.EqualContents, TiedWeights.Of(model.Graph, s)));
        }
        using var folder = new TemporaryFolder();
        var options = new BuildOptions { ModelPath = Exports.Model(family), OutputFolder = folder.At("artifacts"), Rank = 8, Targets = "lm_head" };
        if (shared)
        {
            var refusal = Assert.Throws<TargetException>(() => ArtifactBuilder.Build(options));
            Assert.Contains(family.Contains("int4", StringComparison.Ordinal) ? "(GatherBlockQuantized) (tied embeddings)" : "(Gather) (tied embeddings)", refusal.Message, StringComparison.Ordinal);
            Assert.Empty(folder.Everything());
        }
        else
        {
            Assert.Equal("lm_head", Assert.Single(ArtifactBuilder.Build(options).Targets).Name);
        }
    }

    private static void Skip(string family) => Assert.SkipWhen(Exports.FolderOrNull(family) is null, "../shared is absent");

    // Computed in float32, narrow files differ by their rounded constants alone: caches of cosines, frequencies, in bf16 the square root of the scale.
    private static double Tolerance(string family) => family.Split('/')[1] switch
    {
        "optimum-fp16" => 2e-3,
        "genai-fp16-dml" or "genai-fp16-cuda" => 6e-3,
        "dynamo-opset18-bf16-stripped" => 7.1e-3,
        _ => 5e-5,
    };

    private static void CompareWithKey(string family, IReadOnlyList<LinearSite> sites, Func<string, string> nameInModel)
    {
        using var key = Exports.Key(family);
        var expected = new List<string>();
        foreach (var linear in key.RootElement.GetProperty("linears").EnumerateArray())
        {
            var module = linear.GetProperty("module").GetString()!;
            var parent = module[..(module.LastIndexOf('.') + 1)];
            var dims = linear.GetProperty("effective_in_out");
            var weight = nameInModel(linear.GetProperty("weight").GetString()!);
            var parts = sites.Where(s => s.WeightName == weight).OrderBy(s => s.SliceStart).ToList();
            Assert.Equal((dims[0].GetInt32(), dims[1].GetInt32()), (parts[0].In, parts.Sum(p => p.Out)));
            expected.AddRange(module[parent.Length..].Split('+').Select(role => $"{parent}{role} in {weight}"));
        }
        Assert.Equal(expected.Order(StringComparer.Ordinal), sites.Select(s => $"{s.Module} in {s.WeightName}").Order(StringComparer.Ordinal));
        Assert.All(sites, s => Assert.EndsWith(s.Role, s.Module, StringComparison.Ordinal));
    }
}
