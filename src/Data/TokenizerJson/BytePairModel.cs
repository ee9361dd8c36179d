using System.Globalization;
using System.Text;
using System.Text.Json;

namespace SorsaOrt.Data.TokenizerJson;

/// <summary>The "model" of a tokenizer.json: vocabulary and merges of a byte-pair encoding, checked; turns words into ids.</summary>
/// <remarks>Source: huggingface/tokenizers, models/bpe/model.rs. A merge is looked up by its two ids, its rank is its place in the list.</remarks>
internal sealed class BytePairModel
{
    /// <summary>Ids are at most this: far above any model's, far below what tables by id could not hold.</summary>
    public const int LargestId = (1 << 22) - 1;

    private const int Unknown = -1;   // a character that no token spells
    private readonly Dictionary<string, int> _ids = new(StringComparer.Ordinal);
    private readonly Dictionary<(int Left, int Right), (int Id, int Rank)> _merged = [];
    private readonly PairMerges _merges;
    private readonly WordCache _words = new();
    private readonly int[]? _byteIds;
    private readonly int? _unknownId;
    private readonly bool _fusesUnknown;
    private readonly bool _ignoresMerges;

    /// <summary>Reads it.</summary>
    /// <exception cref="FormatException">It is no byte-pair model, or holds something that cannot be right.</exception>
    public BytePairModel(JsonElement model)
    {
        _merges = new PairMerges(TryMerge);
        if (model.TextOrNull("type") is { } type && type != "BPE")
            throw new FormatException($"its model type is '{DataFormatException.Printable(type)}', and only BPE is supported");
        foreach (string affix in (string[])["continuing_subword_prefix", "end_of_word_suffix"])
        {
            if (model.TextOrNull(affix) is { Length: > 0 } text)
                throw new FormatException($"its model has the {affix} '{DataFormatException.Printable(text)}', which is not supported");
        }
        ReadVocabulary(model);
        ReadMerges(model);
        _fusesUnknown = model.IsTrue("fuse_unk");
        _ignoresMerges = model.IsTrue("ignore_merges");
        if (model.TextOrNull("unk_token") is { } unknown)
            _unknownId = _ids.TryGetValue(unknown, out int id) ? id : throw new FormatException($"its unk_token '{DataFormatException.Printable(unknown)}' is not in the vocab");
        if (model.IsTrue("byte_fallback"))
        {
            int[] byteIds = [.. Enumerable.Range(0, 256).Select(b => _ids.GetValueOrDefault($"<0x{b:X2}>", Unknown))];
            _byteIds = byteIds.Contains(Unknown) ? null : byteIds;
        }
    }

    /// <summary>Tokens by their spelling.</summary>
    public IReadOnlyDictionary<string, int> Ids => _ids;

    /// <summary>Whether the token is a byte of an otherwise unknown character.</summary>
    public bool IsByteFallback(int id) => _byteIds is not null && Array.IndexOf(_byteIds, id) >= 0;

    /// <summary>The byte such a token stands for.</summary>
    public byte ByteOf(int id) => (byte)Array.IndexOf(_byteIds!, id);

    /// <summary>Appends the ids of a word.</summary>
    public void Encode(string word, List<int> ids) => ids.AddRange(_words.Of(word, EncodeNew));

    private void EncodeNew(string word, List<int> ids)
    {
        if (_ignoresMerges && _ids.TryGetValue(word, out int whole))
        {
            ids.Add(whole);
            return;
        }
        for (int at = 0; at < word.Length;)
        {
            Rune.DecodeFromUtf16(word.AsSpan(at), out _, out int length);
            bool known = _ids.GetAlternateLookup<ReadOnlySpan<char>>().TryGetValue(word.AsSpan(at, length), out int id);
            _merges.Add(at, length, known ? id : Unknown);
            at += length;
        }
        bool unknownBefore = false;
        foreach (var symbol in _merges.Run(word))
        {
            bool unknown = symbol.Id == Unknown && _byteIds is null;
            if (symbol.Id != Unknown)
                ids.Add(symbol.Id);
            else if (_byteIds is not null)
                AddBytes(word.AsSpan(symbol.Start, symbol.Length), ids);
            else if (_unknownId is { } id && !(unknownBefore && _fusesUnknown))
                ids.Add(id);
            unknownBefore = unknown;
        }
    }

    private void AddBytes(ReadOnlySpan<char> character, List<int> ids)
    {
        Span<byte> utf8 = stackalloc byte[4];
        foreach (byte b in utf8[..Encoding.UTF8.GetBytes(character, utf8)])
            ids.Add(_byteIds![b]);
    }

    private bool TryMerge(string text, in PairMerges.Symbol left, in PairMerges.Symbol right, out int id, out float rank)
    {
        bool found = _merged.TryGetValue((left.Id, right.Id), out var merge);
        (id, rank) = (merge.Id, merge.Rank);   // below 2²², so exact in a float
        return found;
    }

    private void ReadVocabulary(JsonElement model)
    {
        var vocab = model.Need("vocab", JsonValueKind.Object, "an object of tokens and ids");
        var byId = new HashSet<int>();
        foreach (var token in vocab.EnumerateObject())
        {
            string name = $"token '{DataFormatException.Printable(token.Name)}' of its vocab";
            int id = TokenId(token.Value, name);
            if (!_ids.TryAdd(token.Name, id))
                throw new FormatException($"{name} stands there twice");
            if (!byId.Add(id))
                throw new FormatException($"{name} shares the id {id} with another");
        }
        if (_ids.Count == 0)
            throw new FormatException("its vocab is empty");
    }

    /// <summary>An id out of the file.</summary>
    public static int TokenId(JsonElement value, string what)
    {
        if (value.ValueKind != JsonValueKind.Number)
            throw new FormatException($"{what} has the id {DataFormatException.Printable(value.GetRawText())}, which is no number");
        return value.TryGetInt32(out int id) && id is >= 0 and <= LargestId ? id
            : throw new FormatException($"{what} has the id {DataFormatException.Printable(value.GetRawText())}; ids are whole numbers from 0 to {LargestId}");
    }

    private void ReadMerges(JsonElement model)
    {
        int rank = 0;
        foreach (var merge in model.Need("merges", JsonValueKind.Array, "a list").EnumerateArray())
        {
            if (rank > LargestId)
                throw new FormatException($"it has more than {LargestId} merges");
            var (left, right) = PairOf(merge, rank);
            int leftId = Known(left, rank), rightId = Known(right, rank);
            _merged[(leftId, rightId)] = (Known(left + right, rank), rank);   // of equal merges the last counts, as in the reference
            rank++;
        }
    }

    private int Known(string token, int rank) => _ids.TryGetValue(token, out int id) ? id
        : throw new FormatException(string.Create(CultureInfo.InvariantCulture, $"merge {rank} needs the token '{DataFormatException.Printable(token)}', which is not in the vocab"));

    private static (string Left, string Right) PairOf(JsonElement merge, int rank)
    {
        string[]? parts = merge.ValueKind switch
        {
            JsonValueKind.String => merge.GetString()!.Split(' '),
            JsonValueKind.Array when merge.EnumerateArray().All(p => p.ValueKind == JsonValueKind.String) => [.. merge.EnumerateArray().Select(p => p.GetString()!)],
            _ => null,
        };
        return parts is [{ Length: > 0 } left, { Length: > 0 } right] ? (left, right)
            : throw new FormatException(string.Create(CultureInfo.InvariantCulture, $"merge {rank} is {DataFormatException.Printable(merge.GetRawText())}; two tokens are needed"));
    }
}
