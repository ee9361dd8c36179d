using System.Globalization;
using System.Text.RegularExpressions;

namespace SorsaOrt.Data;

/// <summary>Numbers out of answers, to score GSM8K and its like by exact match.</summary>
/// <remarks>
/// Follows the reference (Gunale0926/SORSA test.py: the first number after the last "The answer is:", case as written), with thousands commas read
/// whole ("1,234,567") and no rounding to integers: "4.6" does not match 5.
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
        if (!match.Success || Parse(match.Groups["number"].Value) is not { } value)
            return null;
        if (match.Groups["denominator"] is { Success: true } denominator)
        {
            if (Parse(denominator.Value) is not { } divisor || divisor == 0)
                return null;
            value /= divisor;
        }
        return match.Groups["sign"].Value is "-" or "\u2212" ? -value : value;
    }

    private static decimal? Parse(string digits) =>
        decimal.TryParse(digits.Replace(",", "", StringComparison.Ordinal), NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out decimal value) ? value : null;

    // A sign, a currency sign in either order, digits with thousands commas or without, a decimal part, and a denominator.
    [GeneratedRegex(@"(?<sign>[-+\u2212])?\s?[$€£]?\s?(?<number>\d{1,3}(,\d{3})+(\.\d+)?|\d+(\.\d+)?|\.\d+)(\s?/\s?(?<denominator>\d+(\.\d+)?))?", RegexOptions.ExplicitCapture)]
    private static partial Regex Number();
}
