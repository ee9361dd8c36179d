using SorsaOrt.Ir;

namespace SorsaOrt.Export;

/// <summary>Families of decoders that can be exported.</summary>
internal enum Architecture
{
    /// <summary>Llama 1 to 3, TinyLlama, SmolLM and others built alike.</summary>
    Llama,
    /// <summary>Mistral 7B and others built alike.</summary>
    Mistral,
    /// <summary>Qwen 2 and 2.5.</summary>
    Qwen2,
    /// <summary>Qwen 3 without experts.</summary>
    Qwen3,
}

/// <summary>Everything that shapes the graph of a decoder, wherever it was read.</summary>
internal sealed record DecoderConfig
{
    private const int MostHidden = 1 << 20, MostIntermediate = 1 << 22, MostHeads = 1 << 14, MostVocabulary = 1 << 24, MostPositions = 1 << 30;

    /// <summary>Most layers that are believed.</summary>
    public const int MostLayers = 4096;

    /// <summary>Family.</summary>
    public required Architecture Architecture { get; init; }

    /// <summary>Width of the residual stream.</summary>
    public required int HiddenSize { get; init; }

    /// <summary>Width inside the MLP.</summary>
    public required int IntermediateSize { get; init; }

    /// <summary>Blocks.</summary>
    public required int Layers { get; init; }

    /// <summary>Query heads.</summary>
    public required int Heads { get; init; }

    /// <summary>Key and value heads; divides <see cref="Heads"/>.</summary>
    public required int KeyValueHeads { get; init; }

    /// <summary>Width of a head, even.</summary>
    public required int HeadSize { get; init; }

    /// <summary>Rows of the embedding.</summary>
    public required int Vocabulary { get; init; }

    /// <summary>Longest context the model was made for; only reported.</summary>
    public required int MaxPositions { get; init; }

    /// <summary>ε of every RMS norm.</summary>
    public required double Epsilon { get; init; }

    /// <summary>Whether lm_head multiplies by the embedding.</summary>
    public required bool Tied { get; init; }

    /// <summary>Base of the rotary frequencies.</summary>
    public required double RotaryBase { get; init; }

    /// <summary>How the rotary frequencies are stretched.</summary>
    public RotaryScaling Scaling { get; init; } = RotaryScaling.None;

    /// <summary>Biases of q, k and v.</summary>
    public bool QueryKeyValueBias { get; init; }

    /// <summary>Bias of o.</summary>
    public bool OutputBias { get; init; }

    /// <summary>Biases of gate, up and down.</summary>
    public bool MlpBias { get; init; }

    /// <summary>RMS norms of each query and key head.</summary>
    public bool HeadNorms => Architecture == Architecture.Qwen3;

    /// <summary>A token sees itself and window − 1 tokens before it, in the layers of <see cref="WindowedLayers"/>; null: all before it.</summary>
    public int? Window { get; init; }

    /// <summary>Which layers the window holds for; null: all.</summary>
    public IReadOnlyList<bool>? WindowedLayers { get; init; }

    /// <summary>The window of a layer, or null where it sees everything. A window as wide as the context is none.</summary>
    public int? WindowOf(int layer) => Window < MaxPositions && (WindowedLayers?[layer] ?? true) ? Window : null;

    /// <summary>The sizes that shapes follow from: "hidden_size 64, …"; <paramref name="key"/> as in <see cref="Checked"/>.</summary>
    public string Sizes(Func<string, string> key) => $"{key("hidden_size")} {HiddenSize}, {key("intermediate_size")} {IntermediateSize}, {key("num_attention_heads")} {Heads}, "
        + $"{key("num_key_value_heads")} {KeyValueHeads}, {key("head_dim")} {HeadSize}, {key("vocab_size")} {Vocabulary}";

    /// <summary>Refuses numbers that make no model; <paramref name="key"/> gives the source's own name of a Hugging Face field.</summary>
    /// <exception cref="ModelFormatException">Names the file and the field.</exception>
    public DecoderConfig Checked(string file, Func<string, string> key)
    {
        Within("hidden_size", HiddenSize, MostHidden);
        Within("intermediate_size", IntermediateSize, MostIntermediate);
        Within("num_hidden_layers", Layers, MostLayers);
        Within("num_attention_heads", Heads, MostHeads);
        Within("num_key_value_heads", KeyValueHeads, Heads);
        Within("head_dim", HeadSize, MostHeads);
        Within("vocab_size", Vocabulary, MostVocabulary);
        Within("max_position_embeddings", MaxPositions, MostPositions);
        if (Heads % KeyValueHeads != 0)
            throw Wrong("num_key_value_heads", $"{KeyValueHeads} key/value heads cannot be shared evenly by {Heads} query heads");
        if (HeadSize % 2 != 0)
            throw Wrong("head_dim", $"a head of {HeadSize} cannot be rotated in pairs");
        if (!double.IsFinite(Epsilon) || Epsilon < 0)
            throw Wrong("rms_norm_eps", "it must be a number from 0 on");
        if (!double.IsFinite(RotaryBase) || RotaryBase <= 0)
            throw Wrong("rope_theta", "it must be a positive number");
        if (Window is < 1)
            throw Wrong("sliding_window", "it must be positive, or null for none");
        if (WindowedLayers is { } layers && layers.Count != Layers)
            throw Wrong("layer_types", $"it lists {layers.Count} layers of {Layers}");
        return this;

        void Within(string field, long value, long most)
        {
            if (value < 1 || value > most)
                throw Wrong(field, $"{value} is not between 1 and {most}");
        }

        ModelFormatException Wrong(string field, string problem) => new($"{file}: {key(field)}: {problem}.");
    }
}
