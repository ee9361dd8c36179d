using System.Text;

namespace SorsaOrt.Data;

/// <summary>Decodes tokens one at a time, as they are generated: gives text as soon as it is certain, holding back the bytes of an unfinished character.</summary>
public sealed class TokenStream
{
    private readonly Tokenizer _tokenizer;
    private readonly byte[] _bytes = new byte[4];
    private int _byteCount;
    private bool _stripSpace;

    /// <summary>A stream at the beginning of a text.</summary>
    /// <param name="tokenizer">Whose tokens these are.</param>
    /// <param name="keepLeadingSpace">Keeps the space of the first word, which the tokenizer puts there itself.</param>
    public TokenStream(Tokenizer tokenizer, bool keepLeadingSpace = false)
    {
        ArgumentNullException.ThrowIfNull(tokenizer);
        _tokenizer = tokenizer;
        _stripSpace = tokenizer.StripsLeadingSpace && !keepLeadingSpace;
    }

    /// <summary>Takes one token and gives the text that is now certain; often empty inside a character spelled in bytes.</summary>
    public string Append(int id)
    {
        var (text, value) = _tokenizer.Piece(id);
        if (value is { } b)
        {
            _stripSpace = false;
            _bytes[_byteCount++] = b;
            return TakeCharacters(atEnd: false);
        }
        if (text is null)
            return "";
        string before = TakeCharacters(atEnd: true);
        if (_stripSpace && text.StartsWith(' '))
            text = text[1..];
        _stripSpace = false;
        return before + text;
    }

    /// <summary>The rest: bytes that never became a character, each as U+FFFD.</summary>
    public string Flush() => TakeCharacters(atEnd: true);

    private string TakeCharacters(bool atEnd)
    {
        if (_byteCount == 0)
            return "";
        var text = new StringBuilder();
        int used = 0;
        while (used < _byteCount)
        {
            var status = Rune.DecodeFromUtf8(_bytes.AsSpan(used, _byteCount - used), out var rune, out int length);
            if (status == System.Buffers.OperationStatus.NeedMoreData && !atEnd)
                break;
            bool valid = status == System.Buffers.OperationStatus.Done;
            text.Append(valid ? rune.ToString() : "\uFFFD");
            used += valid ? length : 1;   // SentencePiece gives one U+FFFD for every bad byte
        }
        _bytes.AsSpan(used, _byteCount - used).CopyTo(_bytes);
        _byteCount -= used;
        return text.ToString();
    }
}
