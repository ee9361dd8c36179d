using System.Runtime.InteropServices;
using SorsaOrt.Export.Gguf;
using SorsaOrt.Ir;
using SorsaOrt.TestSupport;

namespace SorsaOrt.Export.Tests;

/// <summary>Models out of GGUF files against the float64 forward pass: names, order of rotated rows, metadata.</summary>
public sealed class GgufTests
{
    private static readonly ReferenceDecoder Small = new()
    {
        Hidden = 32,
        Intermediate = 64,
        Layers = 2,
        Heads = 4,
        KeyValueHeads = 2,
        HeadSize = 8,
        Vocabulary = 40,
        Frequency = i => Math.Pow(10000, -2.0 * i / 8),
    };

    [Theory]
    [InlineData("llama", false)]
    [InlineData("llama", true)]
    [InlineData("qwen2", false)]
    [InlineData("qwen3", true)]
    public void Model_ComputesItsFormula(string architecture, bool tied)
    {
        var reference = Small with { Tied = tied, AttentionBias = architecture == "qwen2", HeadNorms = architecture == "qwen3" };
        Compare(reference, architecture, _ => { });
    }

    [Fact]
    public void BiasedLlama_HasItsBiasesRotatedAsItsRows() => Compare(Small with { AttentionBias = true, OutputBias = true, MlpBias = true }, "llama", _ => { });

    [Fact]
    public void LinearScaling_AndBase_AreTakenOver() =>
        Compare(Small with { Frequency = i => Math.Pow(5000, -2.0 * i / 8) / 2 }, "llama",
            file => file.Real("llama.rope.freq_base", 5000).Text("llama.rope.scaling.type", "linear").Real("llama.rope.scaling.factor", 2));

    [Fact]
    public void HeadSizeOfItsOwn_IsTakenOver() =>
        Compare(Small with { Heads = 6, HeadSize = 10, Frequency = i => Math.Pow(10000, -2.0 * i / 10) }, "llama",
            file => file.Number("llama.attention.key_length", 10).Number("llama.attention.value_length", 10).Number("llama.rope.dimension_count", 10));

    [Fact]
    public void FrequencyFactors_Divide()
    {
        float[] factors = [1, 2, 4, 8];
        Compare(Small with { Frequency = i => Math.Pow(10000, -2.0 * i / 8) / factors[i] }, "llama",
            file => file.Tensor("rope_freqs.weight", 0, [4], MemoryMarshal.AsBytes(factors.AsSpan()).ToArray()));
    }

    [Fact]
    public void QuantisedTensor_IsExportedAsItsBlocksDecode()
    {
        using var folder = new TemporaryFolder();
        var weights = Small.RandomWeights(seed: 1);
        byte[] Quantised(Weight w) => [.. Enumerable.Range(0, w.Values.Length / 32).SelectMany(block => Enumerable.Range(0, 34).Select(k => k < 2 ? (byte)(k == 0 ? 0 : 0x20 + (block % 4)) : unchecked((byte)((block * 7) + (k * 5)))))];
        var up = weights.Single(w => w.Name == "model.layers.1.mlp.up_proj.weight");
        Write(folder.At("model.gguf"), Small, "llama", weights, _ => { }, w => w == up ? (8u, Quantised(w)) : null);
        ModelExporter.Export(new ExportOptions { Source = folder.At("model.gguf"), OutputPath = folder.At("model.onnx") });
        var decoded = new float[up.Values.Length];
        Blocks.Decode(GgufType.Q8_0, Quantised(up), decoded);
        using var model = Ir.Serialization.OnnxReader.Read(folder.At("model.onnx"));
        Assert.Equal(ModelFolder.Turned(decoded, 64, 32), model.Graph.FindInitializer("model.layers.1.mlp.up_proj.MatMul.weight")!.Constant!.ToArray<float>());
    }

    [Theory]
    [InlineData("llama.attention.head_count_kv", "a list", true)]
    [InlineData("llama.expert_count", "experts", false)]
    [InlineData("llama.rope.dimension_count", "head size", false)]
    public void UnsupportedMetadata_IsRefusedByItsKey(string key, string says, bool list)
    {
        using var folder = new TemporaryFolder();
        Write(folder.At("model.gguf"), Small with { KeyValueHeads = 4 }, "llama", (Small with { KeyValueHeads = 4 }).RandomWeights(1),
            file => _ = list ? file.Numbers(key, 4, 2) : file.Number(key, 4), withKeyValueHeads: !list);
        var refusal = Assert.Throws<UnsupportedGraphException>(() => ModelExporter.Export(new ExportOptions { Source = folder.At("model.gguf"), OutputPath = folder.At("out.onnx") }));
        Assert.Contains(key, refusal.Message, StringComparison.Ordinal);
        Assert.Contains(says, refusal.Message, StringComparison.Ordinal);
        Assert.Equal(["model.gguf"], folder.Everything());
    }

    private static void Compare(ReferenceDecoder reference, string architecture, Action<GgufWriter> more)
    {
        using var folder = new TemporaryFolder();
        var weights = reference.RandomWeights(seed: 9);
        Write(folder.At("model.gguf"), reference, architecture, weights, more);
        using var model = ExportedModel.Of(folder.At("model.gguf"), folder);
        long[] ids = [5, 39, 0, 11, 2];
        var expected = reference.Logits(weights, ids, [1, 1, 1, 1, 1], [0, 1, 2, 3, 4]);
        Assert.All(expected.SelectMany(t => t).Zip(model.Logits([ids])), pair => Assert.Equal(pair.First, pair.Second, 2e-5));
    }

    private static void Write(string path, ReferenceDecoder reference, string architecture, IReadOnlyList<Weight> weights, Action<GgufWriter> more,
        Func<Weight, (uint, byte[])?>? encode = null, bool withKeyValueHeads = true)
    {
        using var file = new GgufWriter().Text("general.architecture", architecture).Number(architecture + ".block_count", (uint)reference.Layers)
            .Number(architecture + ".embedding_length", (uint)reference.Hidden).Number(architecture + ".feed_forward_length", (uint)reference.Intermediate)
            .Number(architecture + ".attention.head_count", (uint)reference.Heads).Number(architecture + ".context_length", 128)
            .Real(architecture + ".attention.layer_norm_rms_epsilon", (float)reference.Epsilon);
        if (withKeyValueHeads)
            file.Number(architecture + ".attention.head_count_kv", (uint)reference.KeyValueHeads);
        more(file);
        foreach (var weight in weights)
        {
            // What llama.cpp's converter does to the rows that are rotated; it leaves Qwen's as they are.
            var rotated = architecture == "llama" && (weight.Name.Contains("q_proj", StringComparison.Ordinal) || weight.Name.Contains("k_proj", StringComparison.Ordinal));
            var (type, data) = encode?.Invoke(weight) ?? (0u, MemoryMarshal.AsBytes((rotated ? Interleaved(weight, reference.HeadSize) : weight.Values).AsSpan()).ToArray());
            file.Tensor(GgufName(weight.Name), type, weight.Shape, data);
        }
        file.Write(path);
    }

    // Rows (head, half, pair) in the order (head, pair, half).
    private static float[] Interleaved(Weight weight, int headSize)
    {
        var (width, result) = (weight.Shape.Length == 1 ? 1 : (int)weight.Shape[1], new float[weight.Values.Length]);
        for (var row = 0; row < weight.Shape[0]; row++)
        {
            var (head, half, pair) = (row / headSize, row % headSize / (headSize / 2), row % (headSize / 2));
            Array.Copy(weight.Values, row * width, result, ((head * headSize) + (pair * 2) + half) * width, width);
        }
        return result;
    }

    private static string GgufName(string name)
    {
        foreach (var (from, to) in new[]
        {
            ("model.layers.", "blk."), ("model.embed_tokens", "token_embd"), ("model.norm", "output_norm"), ("lm_head", "output"),
            ("input_layernorm", "attn_norm"), ("post_attention_layernorm", "ffn_norm"), ("self_attn.q_norm", "attn_q_norm"), ("self_attn.k_norm", "attn_k_norm"),
            ("self_attn.q_proj", "attn_q"), ("self_attn.k_proj", "attn_k"), ("self_attn.v_proj", "attn_v"), ("self_attn.o_proj", "attn_output"),
            ("mlp.gate_proj", "ffn_gate"), ("mlp.up_proj", "ffn_up"), ("mlp.down_proj", "ffn_down"),
        })
            name = name.Replace(from, to, StringComparison.Ordinal);
        return name;
    }
}
