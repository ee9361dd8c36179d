using System.Text;

namespace SorsaOrt.Data;

/// <summary>Decodes tokens one at a time, as they are generated: gives text as soon as it is certain, holding back the bytes of an unfinished character.</summary>
public sealed class TokenStream
{
    private readonly Tokenizer _tokenizer;
    private readonly bool _showSpecial;
    private readonly List<byte> _bytes = [];
    private bool _stripSpace;

    /// <summary>A stream at the beginning of a text.</summary>
    /// <param name="tokenizer">Whose tokens these are.</param>
    /// <param name="keepLeadingSpace">Keeps the space of the first word, which the tokenizer puts there itself.</param>
    /// <param name="showSpecial">Spells control tokens, which otherwise have no text.</param>
    public TokenStream(Tokenizer tokenizer, bool keepLeadingSpace = false, bool showSpecial = false)
    {
        ArgumentNullException.ThrowIfNull(tokenizer);
        _tokenizer = tokenizer;
        _showSpecial = showSpecial;
        _stripSpace = tokenizer.StripsLeadingSpace && !keepLeadingSpace;
    }

    /// <summary>Takes one token and gives the text that is now certain; often empty inside a character spelled in bytes.</summary>
    public string Append(int id)
    {
        var piece = _tokenizer.Piece(id);
        if (piece.Bytes.Length == 0 || piece.IsSpecial && !_showSpecial)
            return "";
        bool strip = _stripSpace && !piece.IsByte && piece.Bytes.Span[0] == (byte)' ';
        _stripSpace = false;
        _bytes.AddRange(piece.Bytes.Span[(strip ? 1 : 0)..]);
        return TakeCharacters(atEnd: false);
    }

    /// <summary>The rest: bytes that never became a character, as U+FFFD.</summary>
    public string Flush() => TakeCharacters(atEnd: true);

    private string TakeCharacters(bool atEnd)
    {
        var bytes = System.Runtime.InteropServices.CollectionsMarshal.AsSpan(_bytes);
        var text = new StringBuilder();
        int used = 0;
        while (used < bytes.Length)
        {
            var status = Rune.DecodeFromUtf8(bytes[used..], out var rune, out int length);
            if (status == System.Buffers.OperationStatus.NeedMoreData && !atEnd)
                break;
            bool valid = status == System.Buffers.OperationStatus.Done;
            text.Append(valid ? rune.ToString() : "\uFFFD");
            used += valid || !_tokenizer.ReplacesEveryByte ? length : 1;
        }
        _bytes.RemoveRange(0, used);
        return text.ToString();
    }
}
