using System.Globalization;
using System.Text;

namespace SorsaOrt.Cli;

/// <summary>Text out of other people's files, made safe to print.</summary>
internal static class Printable
{
    private const int Longest = 2000;

    /// <summary>A piece of a model's answer, without the control characters that a terminal would obey; line ends and tabs stay.</summary>
    public static string Stream(string text) =>
        text.AsSpan().ContainsAnyInRange('\0', '\u001f') || text.AsSpan().ContainsAnyInRange('\u007f', '\u009f')
            ? string.Concat(text.Where(c => !char.IsControl(c) || c is '\n' or '\t')) : text;

    /// <summary>Control characters escaped, over-long text cut.</summary>
    public static string Text(string text)
    {
        var result = new StringBuilder();
        foreach (var c in text.Length > Longest ? text[..Longest] + "…" : text)
        {
            if (char.IsControl(c) && c != '\n')
                result.Append(CultureInfo.InvariantCulture, $"\\u{(int)c:x4}");
            else
                result.Append(c);
        }
        return result.ToString();
    }
}
