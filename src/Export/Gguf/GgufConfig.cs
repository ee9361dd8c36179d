using SorsaOrt.Ir;

namespace SorsaOrt.Export.Gguf;

/// <summary>Reads a model's configuration from GGUF metadata.</summary>
/// <remarks>Source: github.com/ggml-org/ggml, docs/gguf.md; llama.cpp, src/llama-model.cpp.</remarks>
internal sealed class GgufConfig
{
    private static readonly Dictionary<string, string> Keys = new(StringComparer.Ordinal)
    {
        ["hidden_size"] = "embedding_length",
        ["intermediate_size"] = "feed_forward_length",
        ["num_hidden_layers"] = "block_count",
        ["num_attention_heads"] = "attention.head_count",
        ["num_key_value_heads"] = "attention.head_count_kv",
        ["head_dim"] = "attention.key_length",
        ["vocab_size"] = "vocab_size",
        ["max_position_embeddings"] = "context_length",
        ["rms_norm_eps"] = "attention.layer_norm_rms_epsilon",
        ["rope_theta"] = "rope.freq_base",
        ["sliding_window"] = "attention.sliding_window",
    };

    private readonly GgufFile _file;
    private readonly string _architecture;

    private GgufConfig(GgufFile file)
    {
        _file = file;
        _architecture = file.Metadata.TryGetValue("general.architecture", out var value)
            ? value as string ?? throw Wrong("general.architecture", "it is not a string") : throw Wrong("general.architecture", "it is missing");
    }

    /// <summary>The configuration of the model in <paramref name="file"/>.</summary>
    /// <exception cref="ModelFormatException">A key is missing or senseless.</exception>
    /// <exception cref="UnsupportedGraphException">It describes something that cannot be exported.</exception>
    public static DecoderConfig Read(GgufFile file)
    {
        var config = new GgufConfig(file);
        return config.Config().Checked(file.Path, field => config.Own(Key(field)));
    }

    private DecoderConfig Config()
    {
        var architecture = _architecture switch
        {
            "llama" => Architecture.Llama,
            "mistral" => Architecture.Mistral,
            "qwen2" => Architecture.Qwen2,
            "qwen3" => Architecture.Qwen3,
            _ => throw new UnsupportedGraphException($"{_file.Path}: general.architecture {GgufCursor.Shown(_architecture)} cannot be exported; llama, mistral, qwen2 and qwen3 can."),
        };
        if (Number("expert_count", 0) != 0)
            throw new UnsupportedGraphException($"{_file.Path}: {Own("expert_count")}: models with experts cannot be exported.");
        var (hidden, heads) = (Number("hidden_size"), Number("num_attention_heads"));
        var headSize = Number("head_dim", 0);
        if (headSize == 0)
            headSize = heads > 0 && hidden % heads == 0 ? hidden / heads : throw Wrong(Own(Key("num_attention_heads")), $"{heads} heads do not divide {hidden}");
        RefuseOther("attention.value_length", headSize);
        RefuseOther("rope.dimension_count", headSize);
        return new DecoderConfig
        {
            Architecture = architecture,
            HiddenSize = hidden,
            IntermediateSize = Number("intermediate_size"),
            Layers = Number("num_hidden_layers"),
            Heads = heads,
            KeyValueHeads = Number("num_key_value_heads", heads),
            HeadSize = headSize,
            Vocabulary = Vocabulary(),
            MaxPositions = Number("max_position_embeddings"),
            Epsilon = Real(Own(Key("rms_norm_eps")), null),
            Tied = !_file.Tensors.ContainsKey("output.weight"),
            RotaryBase = Real(Own(Key("rope_theta")), 10000),
            Scaling = Scaling(headSize),
            QueryKeyValueBias = _file.Tensors.ContainsKey("blk.0.attn_q.bias"),
            OutputBias = _file.Tensors.ContainsKey("blk.0.attn_output.bias"),
            MlpBias = _file.Tensors.ContainsKey("blk.0.ffn_gate.bias"),
            Window = Number("sliding_window", 0) is var window && window != 0 ? window : null,
        };
    }

    // Older files have no vocab_size: the embedding knows it.
    private int Vocabulary() => Number("vocab_size", _file.Tensors.TryGetValue("token_embd.weight", out var table) && table.Shape is [var rows, _]
        ? checked((int)rows) : throw new ModelFormatException($"{_file.Path} has no tensor 'token_embd.weight' of two dimensions."));

    private RotaryScaling Scaling(int headSize)
    {
        if (_file.Tensors.TryGetValue("rope_freqs.weight", out var given))
            return Factors(given, headSize);
        var key = Own("rope.scaling.type");
        var type = !_file.Metadata.TryGetValue(key, out var value) ? "none" : value as string ?? throw Wrong(key, "it is not a string");
        var factor = Real(Own("rope.scaling.factor"), Real(Own("rope.scale_linear"), 1));
        return type switch
        {
            _ when !(factor > 0 && double.IsFinite(factor)) => throw Wrong(Own("rope.scaling.factor"), "it must be a positive number"),
            "none" when factor == 1 || _file.Metadata.ContainsKey(key) => RotaryScaling.None,
            "none" or "linear" => new RotaryScaling.Linear(factor),
            _ => throw new UnsupportedGraphException($"{_file.Path}: {key} {GgufCursor.Shown(type)} is not supported; none and linear are, and rope_freqs.weight."),
        };
    }

    private RotaryScaling.PerFrequency Factors(GgufTensor tensor, int headSize)
    {
        if (tensor.Type != GgufType.F32 || tensor.Shape is not [var count] || count != headSize / 2)
            throw new ModelFormatException($"{_file.Path}: tensor 'rope_freqs.weight' is {tensor.Type} [{string.Join(',', tensor.Shape)}]; F32 [{headSize / 2}] is needed.");
        var factors = new float[headSize / 2];
        Blocks.Decode(GgufType.F32, _file.Bytes(tensor, 0, checked((int)tensor.ByteCount)), factors);
        return factors.All(f => float.IsFinite(f) && f > 0) ? new RotaryScaling.PerFrequency(factors)
            : throw new ModelFormatException($"{_file.Path}: tensor 'rope_freqs.weight' holds a factor that is not a positive number.");
    }

    /// <summary>The key of a Hugging Face field, without the architecture before it.</summary>
    public static string Key(string field) => Keys.GetValueOrDefault(field, field);

    private string Own(string key) => $"{_architecture}.{key}";

    private void RefuseOther(string key, int expected)
    {
        if (Number(key, expected) is var value && value != expected)
            throw new UnsupportedGraphException($"{_file.Path}: {Own(key)} is {value}, the head size {expected}; only equal ones are supported.");
    }

    private int Number(string field) => _file.Metadata.ContainsKey(Own(Key(field))) ? Number(field, 0) : throw Wrong(Own(Key(field)), "it is missing");

    private int Number(string field, int whenMissing)
    {
        var key = Own(Key(field));
        if (!_file.Metadata.TryGetValue(key, out var value))
            return whenMissing;
        return value switch
        {
            ulong number and <= int.MaxValue => (int)number,
            long number and >= 0 and <= int.MaxValue => (int)number,
            ulong or long => throw Wrong(key, $"{value} is out of range"),
            GgufArray => throw new UnsupportedGraphException($"{_file.Path}: {key} is a list; only models whose layers are all alike can be exported."),
            _ => throw Wrong(key, $"{value} is not a whole number"),
        };
    }

    private double Real(string key, double? whenMissing) => !_file.Metadata.TryGetValue(key, out var value)
        ? whenMissing ?? throw Wrong(key, "it is missing") : value as double? ?? throw Wrong(key, "it is not a float");

    private ModelFormatException Wrong(string key, string problem) => new($"{_file.Path}: metadata '{key}': {problem}.");
}
