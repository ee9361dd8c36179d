using System.Globalization;
using System.Text;

namespace SorsaOrt.Artifacts;

/// <summary>Names out of files, made fit for messages.</summary>
internal static class Text
{
    private const int LongestShown = 200;

    /// <summary>The name between quotes, cut when very long, with control and surrogate characters written as \uXXXX.</summary>
    public static string Quote(string name)
    {
        var text = new StringBuilder("'");
        foreach (char c in name.AsSpan(0, Math.Min(name.Length, LongestShown)))
        {
            if (char.IsControl(c) || char.IsSurrogate(c) || char.GetUnicodeCategory(c) is UnicodeCategory.Format)
                text.Append(CultureInfo.InvariantCulture, $"\\u{(int)c:x4}");
            else
                text.Append(c);
        }
        return text.Append(name.Length > LongestShown ? "…'" : "'").ToString();
    }
}
