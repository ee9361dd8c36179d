using System.Text;
using System.Text.RegularExpressions;

namespace SorsaOrt.Inference;

/// <summary>Results of MATH answers, normalised so that the usual spellings of one result are one text.</summary>
/// <remarks>Source of the normalisation: hendrycks/math, modeling/math_equivalence.py (_strip_string), step by step.</remarks>
public static partial class MathAnswers
{
    private const string Said = "The answer is:";

    /// <summary>What the last \boxed{…} (or \fbox{…}) holds, else the line after the last "The answer is:" without its full stop; normalised. Null where neither is there.</summary>
    public static string? Result(string text)
    {
        ArgumentNullException.ThrowIfNull(text);
        return (Boxed(text) ?? AfterSaid(text)) is { } found && Normalise(found) is { Length: > 0 } result ? result : null;
    }

    /// <summary>One spelling for many: spaces, units, degrees, \left and \right go; \dfrac is \frac; \frac12 is \frac{1}{2}, and so are 1/2 and 0.5.</summary>
    public static string Normalise(string latex)
    {
        ArgumentNullException.ThrowIfNull(latex);
        var text = new StringBuilder(latex)
            .Replace("\n", "").Replace("\\!", "").Replace("\\\\", "\\")
            .Replace("tfrac", "frac").Replace("dfrac", "frac")
            .Replace("\\left", "").Replace("\\right", "")
            .Replace("^{\\circ}", "").Replace("^\\circ", "")
            .Replace("\\$", "").ToString();
        int unit = text.IndexOf("\\text{ ", StringComparison.Ordinal);
        text = (unit < 0 ? text : text[..unit])
            .Replace("\\%", "", StringComparison.Ordinal).Replace(" .", " 0.", StringComparison.Ordinal).Replace("{.", "{0.", StringComparison.Ordinal);
        if (text.StartsWith('.'))
            text = "0" + text;
        if (text.Split('=') is [{ Length: <= 2 }, var right])   // "x = 5"
            text = right;
        text = Braced(text, "\\sqrt", arguments: 1).Replace(" ", "", StringComparison.Ordinal);
        text = Braced(text, "\\frac", arguments: 2);
        if (text == "0.5")
            return "\\frac{1}{2}";
        return Ratio().Match(text) is { Success: true } ratio ? $"\\frac{{{ratio.Groups[1]}}}{{{ratio.Groups[2]}}}" : text;
    }

    /// <summary>Puts braces around single-character arguments: \sqrt3 → \sqrt{3}, \frac12 → \frac{1}{2}, \frac1{72} → \frac{1}{72}.</summary>
    private static string Braced(string text, string command, int arguments)
    {
        string[] parts = text.Split(command);
        var result = new StringBuilder(parts[0]);
        foreach (string part in parts.AsSpan(1))
        {
            result.Append(command);
            int taken = 0;
            while (taken < Math.Min(arguments, part.Length) && part[taken] != '{')
                result.Append('{').Append(part[taken++]).Append('}');
            result.Append(part, taken, part.Length - taken);
        }
        return result.ToString();
    }

    private static string? Boxed(string text)
    {
        int at = text.LastIndexOf("\\boxed", StringComparison.Ordinal);
        if (at < 0)
            at = text.LastIndexOf("\\fbox", StringComparison.Ordinal);
        if (at < 0)
            return null;
        int open = text.AsSpan(at).IndexOfAny('{', ' ') + at;
        if (open < at)
            return null;
        if (text[open] == ' ')   // \boxed 5$
            return text[(open + 1)..].Split('$')[0];
        int depth = 0;
        for (int i = open; i < text.Length; i++)
        {
            depth += text[i] switch { '{' => 1, '}' => -1, _ => 0 };
            if (depth == 0)
                return text[(open + 1)..i];
        }
        return null;   // cut before it closed
    }

    private static string? AfterSaid(string text)
    {
        int at = text.LastIndexOf(Said, StringComparison.Ordinal);
        return at < 0 ? null : text[(at + Said.Length)..].Trim().Split('\n')[0].Trim().TrimEnd('.').Trim('$');
    }

    [GeneratedRegex(@"^(0|-?[1-9][0-9]*)/(0|-?[1-9][0-9]*)$")]
    private static partial Regex Ratio();
}
