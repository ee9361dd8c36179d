using System.Text;
using PieceType = SorsaOrt.Data.SentencePieceModel.PieceType;

namespace SorsaOrt.Data;

/// <summary>SentencePiece's byte-pair encoding of normalised text: neighbours are merged, best score first and, of equal scores, leftmost first.</summary>
/// <remarks>
/// Source: google/sentencepiece src/bpe_model.cc. Microsoft.ML.Tokenizers 2.0.1 takes the rightmost of equal scores ("###" becomes "#", "##"),
/// so only its normaliser is used. Not thread-safe: one instance per thread.
/// </remarks>
internal sealed class SentencePieceMerges
{
    private const char Space = '\u2581';
    private const int MaxCachedWords = 1 << 16;
    private const int MaxCachedLength = 32;

    private readonly SentencePieceModel _model;
    private readonly Dictionary<string, int> _ids = new(StringComparer.Ordinal);
    private readonly string[] _userDefined;
    private readonly bool _wordsAreIndependent;
    private readonly Dictionary<string, int[]> _words = new(StringComparer.Ordinal);
    private readonly List<Symbol> _symbols = [];
    private readonly PriorityQueue<Merge, (float NegatedScore, int Left)> _queue = new();
    private readonly List<int> _wordIds = [];

    public SentencePieceMerges(SentencePieceModel model)
    {
        _model = model;
        var userDefined = new List<string>();
        _wordsAreIndependent = true;
        for (int id = 0; id < model.Pieces.Count; id++)
        {
            if (model.Types[id] is not (PieceType.Normal or PieceType.UserDefined))
                continue;
            string piece = model.Pieces[id];
            _ids.Add(piece, id);
            if (model.Types[id] == PieceType.UserDefined)
                userDefined.Add(piece);
            _wordsAreIndependent &= !CrossesWords(piece);
        }
        _userDefined = [.. userDefined.OrderByDescending(p => p.Length)];
        _wordsAreIndependent &= _userDefined.Length == 0;
    }

    private readonly record struct Symbol(int Start, int Length, int Previous, int Next, bool Frozen);

    private readonly record struct Merge(int Left, int Right, int Length);

    /// <summary>Appends the ids of <paramref name="text"/>, which is normalised already.</summary>
    public void Encode(string text, List<int> ids)
    {
        bool unknownBefore = false;
        if (!_wordsAreIndependent)
        {
            EncodeWord(text, _wordIds);
            Append(_wordIds, ids, ref unknownBefore);
            return;
        }
        // No piece reaches from a word into the space before the next, so words are encoded one by one, and remembered.
        for (int start = 0; start < text.Length;)
        {
            int end = start;
            while (end < text.Length && text[end] == Space)
                end++;
            while (end < text.Length && text[end] != Space)
                end++;
            Append(WordIds(text.Substring(start, end - start)), ids, ref unknownBefore);
            start = end;
        }
    }

    /// <summary>Copies ids; neighbouring unknown characters count as one, as in SentencePiece.</summary>
    private void Append(IEnumerable<int> from, List<int> ids, ref bool unknownBefore)
    {
        foreach (int id in from)
        {
            bool unknown = id == _model.UnknownId;
            if (!(unknown && unknownBefore))
                ids.Add(id);
            unknownBefore = unknown;
        }
    }

    private int[] WordIds(string word)
    {
        if (_words.TryGetValue(word, out int[]? known))
            return known;
        EncodeWord(word, _wordIds);
        int[] ids = [.. _wordIds];
        if (word.Length <= MaxCachedLength && _words.Count < MaxCachedWords)
            _words.Add(word, ids);
        return ids;
    }

    private void EncodeWord(string text, List<int> ids)
    {
        ids.Clear();
        Split(text);
        for (int i = 1; i < _symbols.Count; i++)
            Offer(text, i - 1, i);
        while (_queue.TryDequeue(out var merge, out _))
        {
            var left = _symbols[merge.Left];
            var right = _symbols[merge.Right];
            if (left.Length == 0 || right.Length == 0 || left.Length + right.Length != merge.Length)
                continue;   // one of the two has been merged elsewhere meanwhile
            _symbols[merge.Left] = left with { Length = merge.Length, Next = right.Next };
            _symbols[merge.Right] = right with { Length = 0 };
            if (right.Next >= 0)
                _symbols[right.Next] = _symbols[right.Next] with { Previous = merge.Left };
            Offer(text, left.Previous, merge.Left);
            Offer(text, merge.Left, right.Next);
        }
        for (int i = _symbols.Count > 0 ? 0 : -1; i >= 0; i = _symbols[i].Next)
            AppendSymbol(text.AsSpan(_symbols[i].Start, _symbols[i].Length), ids);
    }

    /// <summary>Fills the list of symbols with single code points, and user-defined pieces whole.</summary>
    private void Split(string text)
    {
        _symbols.Clear();
        _queue.Clear();
        for (int at = 0; at < text.Length;)
        {
            var rest = text.AsSpan(at);
            int length = 0;
            foreach (string piece in _userDefined)
            {
                if (rest.StartsWith(piece, StringComparison.Ordinal))
                {
                    length = piece.Length;
                    break;
                }
            }
            bool frozen = length > 0;
            if (!frozen)
                Rune.DecodeFromUtf16(rest, out _, out length);
            int index = _symbols.Count;
            _symbols.Add(new Symbol(at, length, index - 1, at + length < text.Length ? index + 1 : -1, frozen));
            at += length;
        }
    }

    private void Offer(string text, int left, int right)
    {
        if (left < 0 || right < 0 || _symbols[left].Frozen || _symbols[right].Frozen)
            return;
        int length = _symbols[left].Length + _symbols[right].Length;
        if (_ids.GetAlternateLookup<ReadOnlySpan<char>>().TryGetValue(text.AsSpan(_symbols[left].Start, length), out int id))
            _queue.Enqueue(new Merge(left, right, length), (-_model.Scores[id], left));
    }

    private void AppendSymbol(ReadOnlySpan<char> symbol, List<int> ids)
    {
        if (_ids.GetAlternateLookup<ReadOnlySpan<char>>().TryGetValue(symbol, out int id))
        {
            ids.Add(id);
        }
        else if (_model.ByteIds is { } byteIds)
        {
            Span<byte> utf8 = stackalloc byte[4];   // a symbol without a piece is a single code point
            int length = Encoding.UTF8.GetBytes(symbol, utf8);
            foreach (byte b in utf8[..length])
                ids.Add(byteIds[b]);
        }
        else
        {
            ids.Add(_model.UnknownId);
        }
    }

    private static bool CrossesWords(string piece)
    {
        for (int i = 1; i < piece.Length; i++)
        {
            if (piece[i] == Space && piece[i - 1] != Space)
                return true;
        }
        return false;
    }
}
