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
    private const int Frozen = -2;   // a user-defined piece: stays as it is

    private readonly SentencePieceModel _model;
    private readonly Dictionary<string, int> _ids = new(StringComparer.Ordinal);
    private readonly string[] _userDefined;
    private readonly bool _wordsAreIndependent;
    private readonly WordCache _words = new();
    private readonly PairMerges _merges;
    private readonly List<int> _wordIds = [];

    public SentencePieceMerges(SentencePieceModel model)
    {
        _model = model;
        _merges = new PairMerges(TryMerge);
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
            Append(_words.Of(text.Substring(start, end - start), EncodeWord), ids, ref unknownBefore);
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

    private void EncodeWord(string text, List<int> ids)
    {
        ids.Clear();
        Split(text);
        foreach (var symbol in _merges.Run(text))
            AppendSymbol(text.AsSpan(symbol.Start, symbol.Length), ids);
    }

    /// <summary>Fills the list of symbols with single code points, and user-defined pieces whole.</summary>
    private void Split(string text)
    {
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
            _merges.Add(at, length, frozen ? Frozen : 0);
            at += length;
        }
    }

    private bool TryMerge(string text, in PairMerges.Symbol left, in PairMerges.Symbol right, out int id, out float rank)
    {
        rank = 0;
        id = -1;
        if (left.Id == Frozen || right.Id == Frozen
            || !_ids.GetAlternateLookup<ReadOnlySpan<char>>().TryGetValue(text.AsSpan(left.Start, left.Length + right.Length), out id))
            return false;
        rank = -_model.Scores[id];
        return true;
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
