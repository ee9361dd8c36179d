using System.Globalization;
using System.Text;

namespace SorsaOrt.Ir.Serialization;

/// <summary>Text out of a file, made fit for a message: control and formatting characters escaped, long text cut.</summary>
internal static class Quoted
{
    private const int Longest = 120;

    /// <summary><paramref name="text"/> in single quotes.</summary>
    public static string Text(string text)
    {
        var result = new StringBuilder("'");
        foreach (var rune in text.EnumerateRunes())
        {
            if (result.Length > Longest)
            {
                result.Append(CultureInfo.InvariantCulture, $"… ({text.Length} characters)");
                break;
            }
            var hidden = Rune.GetUnicodeCategory(rune) is UnicodeCategory.Control or UnicodeCategory.Format
                or UnicodeCategory.LineSeparator or UnicodeCategory.ParagraphSeparator;
            result.Append(hidden ? $"\\u{{{rune.Value:x}}}" : rune.ToString());
        }
        return result.Append('\'').ToString();
    }
}
