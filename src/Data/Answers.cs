using System.Globalization;
using System.Text.RegularExpressions;

namespace SorsaOrt.Data;

/// <summary>Numbers out of answers, to score GSM8K and its like by exact match.</summary>
/// <remarks>
/// Follows the reference (Gunale0926/SORSA test.py: the first number after the last "The answer is:", case as written), with thousands commas read
/// whole ("1,234,567"), fractions and mixed numbers too (3/4, 1 1/2, 1\frac{1}{2}), and no rounding to integers: "4.6" does not match 5.
/// </remarks>
public static partial class Answers
{
    private const string Said = "The answer is:";
    private const string Marked = "####";

    /// <summary>The number a model gave: after the last "The answer is:", else after the last "####"; null where there is none.</summary>
    public static decimal? Predicted(string completion)
    {
        ArgumentNullException.ThrowIfNull(completion);
        return After(completion, Said) ?? After(completion, Marked);
    }

    /// <summary>The number a data set holds as right: after "####" (GSM8K), else after "The answer is:" (MetaMathQA).</summary>
    public static decimal? Expected(string reference)
    {
        ArgumentNullException.ThrowIfNull(reference);
        return After(reference, Marked) ?? After(reference, Said);
    }

    /// <summary>Whether the model's answer is there and equals the expected one.</summary>
    public static bool Agree(decimal? predicted, decimal? expected) => predicted is not null && predicted == expected;

    private static decimal? After(string text, string marker)
    {
        int at = text.LastIndexOf(marker, StringComparison.Ordinal);
        if (at < 0)
            return null;
        var match = Number().Match(text, at + marker.Length);
        if (!match.Success || Parse(match, "number") is not { } value)
            return null;
        if (match.Groups["denominator"].Success)
        {
            if (Parse(match, "denominator") is not { } divisor || divisor == 0 || Parse(match, "whole") is not { } whole)
                return null;
            try
            {
                value = (whole * divisor + value) / divisor;
            }
            catch (OverflowException)
            {
                return null;
            }
        }
        return match.Groups["sign"].Value is "-" or "\u2212" ? -value : value;
    }

    // A group that is not there is 0: the whole part of a plain fraction.
    private static decimal? Parse(Match match, string group)
    {
        var digits = match.Groups[group].Value.Replace("{,}", "", StringComparison.Ordinal).Replace(",", "", StringComparison.Ordinal).Replace('\u2212', '-');
        return digits.Length == 0 ? 0
            : decimal.TryParse(digits, NumberStyles.AllowDecimalPoint | NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out decimal value) ? value : null;
    }

    // A sign and a currency sign, then a LaTeX fraction, a mixed number, or digits with thousands commas (LaTeX writes {,}) or without, a decimal part and a denominator.
    [GeneratedRegex("""
        (?<sign>[-+\u2212])?\s?(\\?[$€£])?\s?
        ( (?<whole>[0-9]+)?\s?\\[dt]?frac\s?(\{\s?(?<number>[-\u2212]?[0-9]+(\.[0-9]+)?)\s?\}|(?<number>[0-9]))\s?(\{\s?(?<denominator>[0-9]+(\.[0-9]+)?)\s?\}|(?<denominator>[0-9]))
        | (?<whole>[0-9]+)[ ](?<number>[0-9]+)/(?<denominator>[0-9]+)
        | (?<number>[0-9]{1,3}((,|\{,\})[0-9]{3})+(?![0-9])(\.[0-9]+)?|[0-9]+(\.[0-9]+)?|\.[0-9]+)(\s?/\s?(?<denominator>[0-9]+(\.[0-9]+)?))? )
        """, RegexOptions.ExplicitCapture | RegexOptions.IgnorePatternWhitespace)]
    private static partial Regex Number();
}
