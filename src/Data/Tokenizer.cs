using SorsaOrt.Data.TokenizerJson;

namespace SorsaOrt.Data;

/// <summary>Text to token ids and back, for the tokenizer file that came with a model. Not thread-safe.</summary>
public abstract class Tokenizer
{
    private protected Tokenizer(string path, TokenizerSettings settings) => (FilePath, Settings) = (path, settings);

    /// <summary>The file it was read from.</summary>
    public string FilePath { get; }

    /// <summary>Id of the token that is put before a text, or −1 where the model has none.</summary>
    public abstract int BosId { get; }

    /// <summary>Id of the token an answer ends with.</summary>
    public abstract int EosId { get; }

    /// <summary>Id that padding is made of.</summary>
    public abstract int PaddingId { get; }

    /// <summary>Every token at which an answer ends: <see cref="EosId"/>, and the ends of turns and texts that the model has besides.</summary>
    public abstract IReadOnlyList<int> EndIds { get; }

    /// <summary>Ids are below this.</summary>
    public abstract int VocabularySize { get; }

    internal TokenizerSettings Settings { get; }

    /// <summary>Whether a text's first space is the tokenizer's own.</summary>
    internal abstract bool StripsLeadingSpace { get; }

    /// <summary>Whether each bad byte is one U+FFFD, as in SentencePiece, or each beginning of a character that does not go on.</summary>
    internal abstract bool ReplacesEveryByte { get; }

    /// <summary>Reads a tokenizer.model or tokenizer.json, or the one in a folder. What it is, its content decides.</summary>
    /// <exception cref="DataFormatException">It cannot be used.</exception>
    public static Tokenizer Load(string path)
    {
        ArgumentNullException.ThrowIfNull(path);
        path = FileIn(path);
        byte[] bytes = InputFile.ReadAll(path, "tokenizer", SentencePieceModel.MaxFileBytes);
        bool isJson = IsJson(bytes);
        if (isJson && Path.GetExtension(path) == ".model")
            throw new DataFormatException(path, "this is JSON, not a SentencePiece model", "Use the tokenizer.model of the model, or name the file tokenizer.json.");
        var settings = TokenizerSettings.Beside(path);
        return isJson ? JsonTokenizer.Parse(path, bytes, settings) : new SentencePieceText(path, SentencePieceModel.Parse(path, bytes), settings);
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
    /// <param name="text">The text. What spells a control token becomes that token where the reference does so (tokenizer.json).</param>
    /// <param name="continues">The text goes on from text encoded before.</param>
    /// <param name="ids">The list.</param>
    /// <param name="data">Stretches that are somebody's data: nothing in them becomes a control token.</param>
    public abstract void Encode(string text, bool continues, List<int> ids, IReadOnlyList<TextSpan>? data = null);

    /// <summary>The text of token ids; bytes that are not UTF-8 become U+FFFD.</summary>
    /// <param name="ids">The tokens.</param>
    /// <param name="showSpecial">Spells control tokens, which otherwise have no text.</param>
    public string Decode(IEnumerable<int> ids, bool showSpecial = false)
    {
        ArgumentNullException.ThrowIfNull(ids);
        var stream = new TokenStream(this, showSpecial: showSpecial);
        return string.Concat(ids.Select(stream.Append)) + stream.Flush();
    }

    /// <summary>What one token adds.</summary>
    internal abstract TokenPiece Piece(int id);

    private protected ArgumentOutOfRangeException OutOfRange(int id) => new(nameof(id), id, $"Token ids are 0 to {VocabularySize - 1}.");

    private static string FileIn(string path)
    {
        if (!Directory.Exists(path))
            return path;
        string model = Path.Combine(path, "tokenizer.model"), json = Path.Combine(path, "tokenizer.json");
        return File.Exists(model) ? model
            : File.Exists(json) ? json
            : throw new DataFormatException(path, "the folder holds no tokenizer.model and no tokenizer.json", "Name the tokenizer file itself.");
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

/// <summary>What a token adds to a text.</summary>
/// <param name="Bytes">UTF-8, perhaps of a part of a character.</param>
/// <param name="IsByte">It stands for a byte of a character the vocabulary does not have.</param>
/// <param name="IsSpecial">A control token: its bytes are its name.</param>
internal readonly record struct TokenPiece(ReadOnlyMemory<byte> Bytes, bool IsByte, bool IsSpecial);
