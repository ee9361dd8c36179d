using System.Text.Json;
using SorsaOrt.Ir;

namespace SorsaOrt.Export.HuggingFace;

/// <summary>Reads config.json of a Hugging Face folder. Fields left out have the defaults of transformers.</summary>
/// <remarks>Source: transformers, configuration_{llama,mistral,qwen2,qwen3}.py.</remarks>
internal sealed class ConfigFile
{
    private const long LongestFile = 16 << 20;

    private readonly string _path;
    private readonly JsonElement _root;

    private ConfigFile(string path, JsonElement root) => (_path, _root) = (path, root);

    /// <summary>The configuration in the file at <paramref name="path"/>.</summary>
    /// <exception cref="ModelFormatException">It is no such file, or a field is missing or senseless.</exception>
    /// <exception cref="UnsupportedGraphException">It describes something that cannot be exported.</exception>
    public static DecoderConfig Read(string path)
    {
        using var document = Json.Read(path, LongestFile);
        return new ConfigFile(path, document.RootElement).Config().Checked(path, field => field);
    }

    private DecoderConfig Config()
    {
        var architecture = ReadArchitecture();
        if (Text("hidden_act", "silu") is var activation && activation is not ("silu" or "swish"))
            throw new UnsupportedGraphException($"{_path}: hidden_act '{activation}' is not supported; silu is.");
        if (_root.TryGetProperty("quantization_config", out var quantised) && quantised.ValueKind != JsonValueKind.Null)
            throw new UnsupportedGraphException($"{_path}: quantization_config: quantised safetensors cannot be exported; take the unquantised model, or a GGUF file.");
        var hidden = Whole("hidden_size");
        var heads = Whole("num_attention_heads");
        var positions = Whole("max_position_embeddings", architecture switch { Architecture.Llama => 2048, Architecture.Mistral => 131072, _ => 32768 });
        var keyValueHeads = Whole("num_key_value_heads", architecture switch { Architecture.Llama => heads, Architecture.Mistral => 8, _ => 32 }, heads);
        var attentionBias = architecture switch { Architecture.Qwen2 => true, Architecture.Mistral => false, _ => Flag("attention_bias", false) };
        var layers = Whole("num_hidden_layers");
        var rotary = new RotaryFields(_path, _root);
        return new DecoderConfig
        {
            Architecture = architecture,
            HiddenSize = hidden,
            IntermediateSize = Whole("intermediate_size"),
            Layers = layers,
            Heads = heads,
            KeyValueHeads = keyValueHeads,
            HeadSize = HeadSize(architecture, hidden, heads),
            Vocabulary = Whole("vocab_size"),
            MaxPositions = positions,
            Epsilon = Real("rms_norm_eps", 1e-6),
            Tied = Flag("tie_word_embeddings", false),
            RotaryBase = rotary.Base,
            Scaling = rotary.Scaling(positions),
            QueryKeyValueBias = attentionBias,
            OutputBias = attentionBias && architecture != Architecture.Qwen2,
            MlpBias = architecture == Architecture.Llama && Flag("mlp_bias", false),
            Window = Window(architecture),
            WindowedLayers = WindowedLayers(architecture, layers),
        };
    }

    private Architecture ReadArchitecture()
    {
        var model = Text("model_type", "");
        var classes = _root.TryGetProperty("architectures", out var list) && list.ValueKind == JsonValueKind.Array
            ? string.Join(", ", list.EnumerateArray().Where(e => e.ValueKind == JsonValueKind.String).Select(e => e.GetString())) : "";
        return (model, classes) switch
        {
            ("llama", "LlamaForCausalLM" or "") => Architecture.Llama,
            ("mistral", "MistralForCausalLM" or "") => Architecture.Mistral,
            ("qwen2", "Qwen2ForCausalLM" or "") => Architecture.Qwen2,
            ("qwen3", "Qwen3ForCausalLM" or "") => Architecture.Qwen3,
            _ => throw new UnsupportedGraphException($"{_path}: model_type '{model}' with architectures '{classes}' cannot be exported; "
                + "LlamaForCausalLM, MistralForCausalLM, Qwen2ForCausalLM and Qwen3ForCausalLM can."),
        };
    }

    private int HeadSize(Architecture architecture, int hidden, int heads)
    {
        if (Whole("head_dim", architecture == Architecture.Qwen3 ? 128 : 0, 0) is var size && size != 0)
            return size;
        if (heads < 1 || hidden % heads != 0)
            throw new ModelFormatException($"{_path}: num_attention_heads: {heads} heads do not divide hidden_size {hidden}, and head_dim is not given.");
        return hidden / heads;
    }

    // Mistral has a window unless it says null; Qwen only where use_sliding_window is set.
    private int? Window(Architecture architecture)
    {
        var given = _root.TryGetProperty("sliding_window", out var window);
        return architecture switch
        {
            Architecture.Mistral => given ? window.ValueKind == JsonValueKind.Null ? null : Whole("sliding_window") : 4096,
            Architecture.Qwen2 or Architecture.Qwen3 when Flag("use_sliding_window", false) => given ? Whole("sliding_window") : 4096,
            _ => null,
        };
    }

    private IReadOnlyList<bool>? WindowedLayers(Architecture architecture, int layers)
    {
        if (Window(architecture) is null || architecture == Architecture.Mistral)
            return null;
        if (_root.TryGetProperty("layer_types", out var types) && types.ValueKind == JsonValueKind.Array)
            return [.. types.EnumerateArray().Select(t => t.ValueKind != JsonValueKind.String ? throw Wrong("layer_types", "it must be a list of strings") : t.GetString() switch
            {
                "full_attention" => false,
                "sliding_attention" => true,
                var other => throw new UnsupportedGraphException($"{_path}: layer_types: '{other}' is not supported; full_attention and sliding_attention are."),
            })];
        var first = Whole("max_window_layers", 28);
        return [.. Enumerable.Range(0, Math.Clamp(layers, 0, DecoderConfig.MostLayers)).Select(i => i >= first)];
    }

    private int Whole(string name) => _root.TryGetProperty(name, out var value) ? Whole(name, value) : throw Wrong(name, "the field is missing");

    private int Whole(string name, int whenMissing, int? whenNull = null) => !_root.TryGetProperty(name, out var value) ? whenMissing
        : value.ValueKind == JsonValueKind.Null && whenNull is { } fallback ? fallback : Whole(name, value);

    private int Whole(string name, JsonElement value) => value.ValueKind == JsonValueKind.Number && value.TryGetInt32(out var number) ? number
        : throw Wrong(name, $"{Json.Shown(value)} is not a whole number");

    private double Real(string name, double whenMissing) => !_root.TryGetProperty(name, out var value) ? whenMissing
        : value.ValueKind == JsonValueKind.Number && value.TryGetDouble(out var number) ? number : throw Wrong(name, $"{Json.Shown(value)} is not a number");

    private bool Flag(string name, bool whenMissing) => !_root.TryGetProperty(name, out var value) ? whenMissing : value.ValueKind switch
    {
        JsonValueKind.True => true,
        JsonValueKind.False => false,
        JsonValueKind.Null => whenMissing,
        _ => throw Wrong(name, $"{Json.Shown(value)} is neither true nor false"),
    };

    private string Text(string name, string whenMissing) => !_root.TryGetProperty(name, out var value) || value.ValueKind == JsonValueKind.Null ? whenMissing
        : value.ValueKind == JsonValueKind.String ? value.GetString()! : throw Wrong(name, $"{Json.Shown(value)} is not a string");

    private ModelFormatException Wrong(string field, string problem) => new($"{_path}: {field}: {problem}.");
}
