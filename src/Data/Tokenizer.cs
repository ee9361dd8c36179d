using Microsoft.ML.Tokenizers;
using PieceType = SorsaOrt.Data.SentencePieceModel.PieceType;

namespace SorsaOrt.Data;

/// <summary>Text to token ids and back, for the tokenizer file that came with a model. Not thread-safe.</summary>
/// <remarks>Text never becomes a control token: an answer that spells "&lt;/s&gt;" is encoded as those four characters.</remarks>
public sealed class Tokenizer
{
    private readonly SentencePieceModel _model;
    private readonly SentencePieceMerges _merges;
    private readonly SentencePieceNormalizer _begin;
    private readonly SentencePieceNormalizer _continue;

    private Tokenizer(SentencePieceModel model)
    {
        _model = model;
        _merges = new SentencePieceMerges(model);
        _begin = Normalizer(model.AddDummyPrefix);
        _continue = Normalizer(dummyPrefix: false);
        SentencePieceNormalizer Normalizer(bool dummyPrefix) =>
            new(model.RemoveExtraWhiteSpaces, dummyPrefix, model.EscapeWhiteSpaces, model.TreatWhitespaceAsSuffix, specialTokens: null);
    }

    /// <summary>Id of the token a text begins with, or −1 where the model has none.</summary>
    public int BosId => _model.BosId;

    /// <summary>Id of the token an answer ends with.</summary>
    public int EosId => _model.EosId;

    /// <summary>Number of tokens; ids are 0 to this less 1.</summary>
    public int VocabularySize => _model.Pieces.Count;

    internal bool StripsLeadingSpace => _model.AddDummyPrefix;

    /// <summary>Reads a tokenizer file, or the one in a folder (tokenizer.model). What it is, its content decides.</summary>
    public static Tokenizer Load(string path)
    {
        if (Directory.Exists(path))
        {
            string model = Path.Combine(path, "tokenizer.model"), json = Path.Combine(path, "tokenizer.json");
            path = File.Exists(model) ? model
                : File.Exists(json) ? json
                : throw new DataFormatException(path, "the folder holds no tokenizer.model", "Name the tokenizer file itself.");
        }
        byte[] bytes = InputFile.ReadAll(path, "tokenizer", SentencePieceModel.MaxFileBytes);
        if (IsJson(bytes))
            throw new DataFormatException(path, "this is a tokenizer.json; only SentencePiece models (tokenizer.model) are read so far",
                "Use the tokenizer.model of the same model, or data that is tokenised already ({input_ids, labels}).");
        return new Tokenizer(SentencePieceModel.Parse(path, bytes));
    }

    /// <summary>Token ids of a text.</summary>
    /// <param name="text">The text.</param>
    /// <param name="addBos">Puts <see cref="BosId"/> first, where there is one.</param>
    /// <param name="continues">The text goes on from text encoded before: no space is put before its first word.</param>
    public int[] Encode(string text, bool addBos = false, bool continues = false)
    {
        var ids = new List<int>();
        if (addBos && BosId >= 0)
            ids.Add(BosId);
        Encode(text, continues, ids);
        return [.. ids];
    }

    /// <summary>Appends the token ids of a text to a list.</summary>
    public void Encode(string text, bool continues, List<int> ids)
    {
        ArgumentNullException.ThrowIfNull(text);
        ArgumentNullException.ThrowIfNull(ids);
        if (text.Length > 0)
            _merges.Encode((continues ? _continue : _begin).Normalize(text), ids);
    }

    /// <summary>The text of token ids. Control tokens have none; bytes that are not UTF-8 become U+FFFD.</summary>
    public string Decode(IEnumerable<int> ids)
    {
        ArgumentNullException.ThrowIfNull(ids);
        var stream = new TokenStream(this);
        return string.Concat(ids.Select(stream.Append)) + stream.Flush();
    }

    /// <summary>What one token adds: its text, or its byte, or neither for a control token.</summary>
    internal (string? Text, byte? Byte) Piece(int id)
    {
        if (id < 0 || id >= VocabularySize)
            throw new ArgumentOutOfRangeException(nameof(id), id, $"Token ids are 0 to {VocabularySize - 1}.");
        return _model.Types[id] switch
        {
            PieceType.Control => (null, null),
            PieceType.Byte => (null, _model.ByteOf(id)),
            PieceType.Unknown => (" \u2047 ", null),    // as SentencePiece shows it
            _ => (_model.Pieces[id].Replace('\u2581', ' '), null),
        };
    }

    private static bool IsJson(ReadOnlySpan<byte> bytes)
    {
        if (bytes.StartsWith("\uFEFF"u8))
            bytes = bytes[3..];
        bytes = bytes.TrimStart(" \t\r\n"u8);
        // A SentencePiece model begins with byte 0x0A (its first piece), which looks like a line end, and then a length.
        return bytes.Length > 1 && bytes[0] is (byte)'{' or (byte)'[' && bytes[1] is (byte)'"' or (byte)'}' or (byte)']' or (byte)' ' or (byte)'\n' or (byte)'\r' or (byte)'\t';
    }
}
