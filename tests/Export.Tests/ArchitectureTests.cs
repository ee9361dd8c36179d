using System.Text.Json.Nodes;
using SorsaOrt.Artifacts;
using SorsaOrt.Ir;
using SorsaOrt.TestSupport;

namespace SorsaOrt.Export.Tests;

/// <summary>Every variant of every architecture against an independent float64 forward pass with random weights.</summary>
public sealed class ArchitectureTests
{
    private static readonly ReferenceDecoder Small = new()
    {
        Hidden = 24,
        Intermediate = 40,
        Layers = 3,
        Heads = 4,
        KeyValueHeads = 2,
        HeadSize = 6,
        Vocabulary = 37,
        Frequency = i => Math.Pow(10000, -2.0 * i / 6),
    };

    public static TheoryData<string> Variants() => [.. Cases.Keys];

    private static readonly Dictionary<string, (ReferenceDecoder Reference, string Config)> Cases = new()
    {
        ["llama"] = (Small, Llama("")),
        ["llama, tied"] = (Small with { Tied = true }, Llama(", 'tie_word_embeddings': true")),
        ["llama, attention and mlp biases"] = (Small with { AttentionBias = true, OutputBias = true, MlpBias = true }, Llama(", 'attention_bias': true, 'mlp_bias': true")),
        ["llama, head_dim of its own"] = (Small with { HeadSize = 10, Frequency = i => Math.Pow(10000, -2.0 * i / 10) }, Llama(", 'head_dim': 10")),
        ["llama, one head per key"] = (Small with { KeyValueHeads = 4 }, Llama(", 'num_key_value_heads': 4")),
        ["llama, one key head"] = (Small with { KeyValueHeads = 1 }, Llama(", 'num_key_value_heads': 1")),
        ["llama, rope_theta"] = (Small with { Frequency = i => Math.Pow(500000, -2.0 * i / 6) }, Llama(", 'rope_theta': 500000.0")),
        ["llama, linear scaling"] = (Small with { Frequency = i => Math.Pow(10000, -2.0 * i / 6) / 4 }, Llama(", 'rope_scaling': {'type': 'linear', 'factor': 4.0}")),
        ["llama, llama3 scaling"] = (Small with { Frequency = i => Llama3(Math.Pow(10000, -2.0 * i / 6)) },
            Llama(", 'rope_scaling': {'rope_type': 'llama3', 'factor': 8.0, 'low_freq_factor': 1.0, 'high_freq_factor': 4.0, 'original_max_position_embeddings': 64}")),
        ["llama, transformers 5"] = (Small with { Frequency = i => Math.Pow(700, -2.0 * i / 6) / 2 },
            Llama(", 'rope_parameters': {'rope_type': 'linear', 'factor': 2.0, 'rope_theta': 700}")),
        ["mistral"] = (Small, Config("Mistral", ", 'sliding_window': null")),
        ["mistral, window wider than the context"] = (Small, Config("Mistral", ", 'sliding_window': 256")),
        ["mistral, window"] = (Small with { Window = _ => 3 }, Config("Mistral", ", 'sliding_window': 3")),
        ["qwen2"] = (Small with { AttentionBias = true }, Config("Qwen2", ", 'sliding_window': 3, 'use_sliding_window': false")),
        ["qwen2, window in the upper layers"] = (Small with { AttentionBias = true, Window = layer => layer >= 1 ? 3 : null },
            Config("Qwen2", ", 'sliding_window': 3, 'use_sliding_window': true, 'max_window_layers': 1")),
        ["qwen2, window by layer_types"] = (Small with { AttentionBias = true, Window = layer => layer == 1 ? 2 : null },
            Config("Qwen2", ", 'sliding_window': 2, 'use_sliding_window': true, 'layer_types': ['full_attention', 'sliding_attention', 'full_attention']")),
        ["qwen3"] = (Small with { HeadNorms = true, HeadSize = 8, Frequency = i => Math.Pow(1e6, -2.0 * i / 8), Tied = true, Epsilon = 1e-6 },
            Config("Qwen3", ", 'head_dim': 8, 'rope_theta': 1000000, 'tie_word_embeddings': true").Replace("1e-05", "1e-06", StringComparison.Ordinal)),
        ["qwen3, biases"] = (Small with { HeadNorms = true, AttentionBias = true, OutputBias = true }, Config("Qwen3", ", 'head_dim': 6, 'attention_bias': true")),
    };

    [Theory]
    [MemberData(nameof(Variants))]
    public void Variant_ComputesItsFormula(string variant)
    {
        var (reference, config) = Cases[variant];
        using var folder = new TemporaryFolder();
        var weights = reference.RandomWeights(seed: 7);
        ModelFolder.Write(folder.At("source"), Parsed(config), weights);
        long[] ids = [5, 36, 0, 11, 2, 29, 8], mask = [1, 1, 1, 1, 1, 1, 1], positions = [0, 1, 2, 3, 4, 5, 6];
        var expected = reference.Logits(weights, ids, mask, positions);
        using (var model = ExportedModel.Of(folder.At("source"), folder))
            Near(expected, model.Logits([ids]), 0);
        // With a cache: a prompt of four, then the rest.
        using var cached = ExportedModel.Of(folder.At("source"), folder, cache: true);
        Near(expected[..4], cached.Logits([ids[..4]]), 0);
        Near(expected[4..], cached.Logits([ids[4..]]), 0);
    }

    [Fact]
    public void Padding_OnEitherSide_ChangesNothing_AndGivesNoNaN()
    {
        using var folder = new TemporaryFolder();
        var weights = Small.RandomWeights(seed: 3);
        ModelFolder.Write(folder.At("source"), Parsed(Llama("")), weights);
        long[] row = [5, 36, 11, 2];
        var expected = Small.Logits(weights, row, [1, 1, 1, 1], [0, 1, 2, 3]);
        using var model = ExportedModel.Of(folder.At("source"), folder);
        var logits = model.Logits([[0, 0, 0, .. row], [.. row, 0, 0, 0]], [[0, 0, 0, 1, 1, 1, 1], [1, 1, 1, 1, 0, 0, 0]], [[1, 1, 1, 0, 1, 2, 3], [0, 1, 2, 3, 4, 5, 6]]);
        Assert.DoesNotContain(logits, v => !float.IsFinite(v));
        Near(expected, logits, 3);
        Near(expected, logits, 7);
    }

    [Theory]
    [InlineData(SafetensorsType.F16, 1)]
    [InlineData(SafetensorsType.BF16, 3)]
    [InlineData(SafetensorsType.F32, 2)]
    public void ShardsAndNarrowTypes_GiveTheSameModel(SafetensorsType type, int shards)
    {
        using var folder = new TemporaryFolder();
        var weights = Small.RandomWeights(seed: 5);
        ModelFolder.Write(folder.At("plain"), Parsed(Llama("")), weights);
        ModelFolder.Write(folder.At("sharded"), Parsed(Llama("")), weights, shards, _ => type);
        Export(folder.At("plain"), folder.At("a.onnx"));
        Export(folder.At("sharded"), folder.At("b.onnx"));
        // The name of the folder stands in the metadata; all weights follow.
        Assert.Equal(Initializers(folder.At("a.onnx")), Initializers(folder.At("b.onnx")));
    }

    [Theory]
    [InlineData(ElementType.Float16)]
    [InlineData(ElementType.BFloat16)]
    public void NarrowOutput_StoresMatricesNarrow_AndComputesInFloat32(ElementType type)
    {
        using var folder = new TemporaryFolder();
        var weights = Small.RandomWeights(seed: 6); // Exact in both types: so are the results.
        ModelFolder.Write(folder.At("source"), Parsed(Llama("")), weights);
        long[] ids = [5, 36, 0, 11];
        using var model = ExportedModel.Of(folder.At("source"), folder, type: type);
        Near(Small.Logits(weights, ids, [1, 1, 1, 1], [0, 1, 2, 3]), model.Logits([ids]), 0);
        using var file = Ir.Serialization.OnnxReader.Read(folder.At("exported", "model.onnx"));
        Assert.All(file.Graph.Initializers.Where(v => v.Name.EndsWith("weight", StringComparison.Ordinal)),
            v => Assert.Equal(v.Shape!.Count == 2 ? type : ElementType.Float32, v.ElementType));
    }

    [Fact]
    public void ExternalData_HoldsTheSameWeights()
    {
        using var folder = new TemporaryFolder();
        ModelFolder.Write(folder.At("source"), Parsed(Llama("")), Small.RandomWeights(seed: 4));
        Export(folder.At("source"), folder.At("inline.onnx"));
        var report = ModelExporter.Export(new ExportOptions { Source = folder.At("source"), OutputPath = folder.At("external.onnx") }, largestInline: 1000);
        Assert.Equal([folder.At("external.onnx"), folder.At("external.onnx.data")], report.Files);
        Assert.Equal(report.Files.Sum(f => new FileInfo(f).Length), report.Bytes);
        Assert.Equal(Initializers(folder.At("inline.onnx")), Initializers(folder.At("external.onnx")));
        using var session = new ExportedModel(folder.At("external.onnx"));
        using var inline = new ExportedModel(folder.At("inline.onnx"));
        Assert.Equal(inline.Logits([[1, 2, 3]]), session.Logits([[1, 2, 3]]));
    }

    [Fact]
    public void OnnxRuntime_FusesNormsAndActivations_AndTransposesEachHeadOnce()
    {
        using var folder = new TemporaryFolder();
        ModelFolder.Write(folder.At("source"), Parsed(Llama("")), Small.RandomWeights(seed: 4));
        Export(folder.At("source"), folder.At("model.onnx"));
        using (var options = new Microsoft.ML.OnnxRuntime.SessionOptions
        {
            OptimizedModelFilePath = folder.At("optimised.onnx"),
            GraphOptimizationLevel = Microsoft.ML.OnnxRuntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
            LogSeverityLevel = Microsoft.ML.OnnxRuntime.OrtLoggingLevel.ORT_LOGGING_LEVEL_ERROR,
        })
        {
            using var session = new Microsoft.ML.OnnxRuntime.InferenceSession(folder.At("model.onnx"), options);
        }
        using var optimised = Ir.Serialization.OnnxReader.Read(folder.At("optimised.onnx"));
        var counts = optimised.Graph.Nodes.CountBy(n => n.OpType).ToDictionary();
        Assert.Equal(7, counts["SimplifiedLayerNormalization"] + counts.GetValueOrDefault("SkipSimplifiedLayerNormalization"));
        Assert.Equal(3, counts["QuickGelu"]);
        Assert.Equal((3 * 4) + 2, counts["Transpose"]); // q, k, v to heads and back, keys in one step, and the tables once.
        Assert.Equal((3 * 9) + 1, counts["MatMul"]);
        Assert.DoesNotContain("Pow", counts.Keys);
    }

    private static void Export(string source, string path) => ModelExporter.Export(new ExportOptions { Source = source, OutputPath = path });

    private static List<string> Initializers(string path)
    {
        using var model = Ir.Serialization.OnnxReader.Read(path);
        return [.. model.Graph.Initializers.Select(v =>
        {
            using var bytes = new MemoryStream();
            v.Constant!.WriteTo(bytes);
            return $"{v} {Convert.ToHexString(System.Security.Cryptography.SHA256.HashData(bytes.ToArray()))}";
        })];
    }

    private static void Near(double[][] expected, float[] logits, int firstRow)
    {
        var width = expected[0].Length;
        for (var t = 0; t < expected.Length; t++)
        {
            for (var i = 0; i < width; i++)
                Assert.Equal(expected[t][i], logits[((firstRow + t) * width) + i], 2e-5);
        }
    }

    // Llama 3.1: Dubey et al. 2024; the smooth passage as in Meta's reference code.
    private static double Llama3(double frequency)
    {
        var wavelength = 2 * Math.PI / frequency;
        if (wavelength < 64 / 4.0)
            return frequency;
        if (wavelength > 64 / 1.0)
            return frequency / 8;
        var smooth = ((64 / wavelength) - 1) / (4 - 1);
        return ((1 - smooth) * frequency / 8) + (smooth * frequency);
    }

    private static string Llama(string more) => Config("Llama", more);

    private static string Config(string architecture, string more) =>
        $"{{'architectures': ['{architecture}ForCausalLM'], 'model_type': '{architecture.ToLowerInvariant()}', 'hidden_size': 24, 'intermediate_size': 40, 'num_hidden_layers': 3, "
        + "'num_attention_heads': 4, 'max_position_embeddings': 256, 'rms_norm_eps': 1e-05, 'vocab_size': 37"
        + (more.Contains("num_key_value_heads", StringComparison.Ordinal) ? "" : ", 'num_key_value_heads': 2") + more + "}";

    private static JsonObject Parsed(string config) => JsonNode.Parse(config.Replace('\'', '"'))!.AsObject();
}
