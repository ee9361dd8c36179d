using System.Text;
using System.Text.Json;

namespace SorsaOrt.Data.TokenizerJson;

/// <summary>The "decoder" of a tokenizer.json: what a token's spelling stands for.</summary>
/// <remarks>Source: huggingface/tokenizers, decoders/*.rs and pre_tokenizers/{byte_level,metaspace}.rs.</remarks>
internal sealed class Decoder
{
    private readonly List<(string From, string To)> _replaced = [];
    private bool _isByteLevel;

    private Decoder() { }

    /// <summary>Whether the space in front of a text is not part of it.</summary>
    public bool StripsLeadingSpace { get; private set; }

    /// <summary>Reads it.</summary>
    /// <exception cref="FormatException">It is of a kind that is not supported.</exception>
    public static Decoder Parse(JsonElement? element)
    {
        var decoder = new Decoder();
        if (element is { } step)
            decoder.Add(step);
        return decoder;
    }

    /// <summary>The UTF-8 of a token; of one that is a part of a character, its bytes.</summary>
    public byte[] BytesOf(string token)
    {
        if (_isByteLevel)
            return ByteLevel.ToBytes(token);
        foreach (var (from, to) in _replaced)
            token = token.Replace(from, to, StringComparison.Ordinal);
        return Encoding.UTF8.GetBytes(token);
    }

    private void Add(JsonElement step)
    {
        switch (step.StepType("decoder"))
        {
            case "Sequence":
                foreach (var inner in step.Need("decoders", JsonValueKind.Array, "a list").EnumerateArray())
                    Add(inner);
                break;
            case "ByteLevel":
                _isByteLevel = true;
                break;
            case "Replace" when step.OrNull("pattern")?.TextOrNull("String") is { Length: > 0 } from && step.TextOrNull("content") is { } to:
                _replaced.Add((from, to));
                break;
            case "Metaspace" when step.TextOrNull("replacement") is { Length: > 0 } from:
                _replaced.Add((from, " "));
                StripsLeadingSpace = (step.TextOrNull("prepend_scheme") ?? "always") != "never" && step.IsTrue("add_prefix_space", otherwise: true);
                break;
            case "Strip" when step.TextOrNull("content") == " ":
                StripsLeadingSpace = true;
                break;
            case "ByteFallback" or "Fuse":   // bytes are always put together here
                break;
            case var other:
                throw new FormatException($"the decoder '{DataFormatException.Printable(other)}' is not supported as it stands there");
        }
    }
}
