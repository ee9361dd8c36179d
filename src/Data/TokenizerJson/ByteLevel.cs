using System.Text;
using System.Text.RegularExpressions;

namespace SorsaOrt.Data.TokenizerJson;

/// <summary>GPT-2's letters for bytes: every byte of UTF-8 is written as one printable character, a space as Ġ.</summary>
/// <remarks>Source: openai/gpt-2 src/encoder.py, bytes_to_unicode: 33–126, 161–172 and 174–255 stand for themselves, the others for 256, 257, … in order.</remarks>
internal static partial class ByteLevel
{
    private static readonly char[] Letters = MakeLetters();
    private static readonly Dictionary<char, byte> Bytes = Letters.Index().ToDictionary(x => x.Item, x => (byte)x.Index);

    /// <summary>The words of GPT-2.</summary>
    public static Regex Words => WordPattern();

    /// <summary>A text as letters for its UTF-8 bytes; a lone surrogate is encoded as U+FFFD.</summary>
    public static string ToLetters(string text)
    {
        var letters = new StringBuilder(text.Length);
        Span<byte> utf8 = stackalloc byte[4];
        foreach (var rune in text.EnumerateRunes())
        {
            foreach (byte b in utf8[..rune.EncodeToUtf8(utf8)])
                letters.Append(Letters[b]);
        }
        return letters.ToString();
    }

    /// <summary>The bytes that a token stands for; one with a character that is no letter stands for its own UTF-8.</summary>
    public static byte[] ToBytes(string token)
    {
        byte[] bytes = new byte[token.Length];
        for (int i = 0; i < token.Length; i++)
        {
            if (!Bytes.TryGetValue(token[i], out bytes[i]))
                return Encoding.UTF8.GetBytes(token);
        }
        return bytes;
    }

    private static char[] MakeLetters()
    {
        char[] letters = new char[256];
        char next = (char)256;
        for (int b = 0; b < 256; b++)
            letters[b] = b is (>= 33 and <= 126) or (>= 161 and <= 172) or (>= 174 and <= 255) ? (char)b : next++;
        return letters;
    }

    [GeneratedRegex(@"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+", RegexOptions.CultureInvariant, matchTimeoutMilliseconds: CodePointRegex.MatchMilliseconds)]
    private static partial Regex WordPattern();
}
