namespace SorsaOrt.Export.Gguf;

/// <summary>A model in a GGUF file, its weights under their Hugging Face names and in their Hugging Face order.</summary>
internal sealed class GgufSource : IModelSource
{
    private static readonly (string HuggingFace, string Gguf)[] Parts =
    [
        ("input_layernorm", "attn_norm"), ("post_attention_layernorm", "ffn_norm"),
        ("self_attn.q_proj", "attn_q"), ("self_attn.k_proj", "attn_k"), ("self_attn.v_proj", "attn_v"), ("self_attn.o_proj", "attn_output"),
        ("self_attn.q_norm", "attn_q_norm"), ("self_attn.k_norm", "attn_k_norm"),
        ("mlp.gate_proj", "ffn_gate"), ("mlp.up_proj", "ffn_up"), ("mlp.down_proj", "ffn_down"),
    ];

    private readonly GgufFile _file;

    private GgufSource(GgufFile file) => (_file, Config) = (file, GgufConfig.Read(file));

    /// <inheritdoc/>
    public string Path => _file.Path;

    /// <inheritdoc/>
    public DecoderConfig Config { get; }

    /// <inheritdoc/>
    public IEnumerable<string> Files => [Path];

    /// <inheritdoc/>
    public string Sizes => "the metadata has " + Config.Sizes(GgufConfig.Key);

    /// <inheritdoc/>
    public IEnumerable<string> Names => _file.Tensors.Keys.Where(n => n != "rope_freqs.weight").Select(n => ToHuggingFace(n) ?? n);

    /// <summary>Opens a file; its header is checked, no weight is read.</summary>
    public static GgufSource Open(string path)
    {
        var file = GgufFile.Open(path);
        try
        {
            return new GgufSource(file);
        }
        catch
        {
            file.Dispose();
            throw;
        }
    }

    /// <inheritdoc/>
    public SourceTensor? Find(string name)
    {
        if (!_file.Tensors.TryGetValue(NameInSource(name), out var tensor))
            return null;
        var (block, bytes) = (tensor.Type.BlockLength(), tensor.Type.BlockBytes());
        var source = new SourceTensor(tensor.Name, tensor.Shape, Read, tensor.ByteCount, (start, length) => _file.Bytes(tensor, start, length));
        return Config.Architecture is Architecture.Llama or Architecture.Mistral && IsRotated(name) && tensor.Shape[0] % Config.HeadSize == 0
            ? source.WithRows(Unpermuted) : source;

        void Read(long first, Span<float> destination) =>
            Blocks.Decode(tensor.Type, _file.Bytes(tensor, first / block * bytes, destination.Length / block * bytes), destination);
    }

    /// <inheritdoc/>
    public string NameInSource(string name)
    {
        switch (name)
        {
            case "model.embed_tokens.weight": return "token_embd.weight";
            case "model.norm.weight": return "output_norm.weight";
            case "lm_head.weight": return "output.weight";
        }
        var (path, end) = (name.Split('.', 4), name.LastIndexOf('.'));
        var part = path.Length == 4 && path[0] == "model" && path[1] == "layers" ? path[3][..path[3].LastIndexOf('.')] : "";
        var gguf = Array.Find(Parts, p => p.HuggingFace == part).Gguf;
        return gguf is null ? name : $"blk.{path[2]}.{gguf}{name[end..]}";
    }

    /// <inheritdoc/>
    public void Dispose() => _file.Dispose();

    private static string? ToHuggingFace(string name)
    {
        switch (name)
        {
            case "token_embd.weight": return "model.embed_tokens.weight";
            case "output_norm.weight": return "model.norm.weight";
            case "output.weight": return "lm_head.weight";
        }
        var path = name.Split('.');
        var part = path.Length == 4 && path[0] == "blk" ? Array.Find(Parts, p => p.Gguf == path[2]).HuggingFace : null;
        return part is null ? null : $"model.layers.{path[1]}.{part}.{path[3]}";
    }

    private static bool IsRotated(string name) =>
        name.Contains(".self_attn.q_proj.", StringComparison.Ordinal) || name.Contains(".self_attn.k_proj.", StringComparison.Ordinal);

    // GGUF has the pairs that are rotated together side by side (2i, 2i + 1); Hugging Face has them half a head apart (i, i + d/2).
    private long Unpermuted(long row)
    {
        var (head, place) = Math.DivRem(row, Config.HeadSize);
        var (half, pair) = Math.DivRem(place, Config.HeadSize / 2);
        return (head * Config.HeadSize) + (2 * pair) + half;
    }
}
