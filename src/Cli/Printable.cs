using System.Globalization;
using System.Text;

namespace SorsaOrt.Cli;

/// <summary>Text out of other people's files, made safe to print.</summary>
internal static class Printable
{
    private const int Longest = 2000;

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
