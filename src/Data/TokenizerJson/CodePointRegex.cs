using System.Globalization;
using System.Text;
using System.Text.RegularExpressions;

namespace SorsaOrt.Data.TokenizerJson;

/// <summary>A regular expression out of a tokenizer file, run over code points as the reference does, without backtracking where that is possible, else with a time limit.</summary>
/// <remarks>
/// .NET sees a character beyond U+FFFF as two halves that are neither letter nor digit. Such characters are therefore replaced by one of the same
/// general category before matching; what a pattern says of categories and of characters up to U+FFFF then holds as written.
/// </remarks>
internal sealed class CodePointRegex
{
    /// <summary>Longest time of one search.</summary>
    public const int MatchMilliseconds = 2000;
    private const int LongestPattern = 10_000;

    private readonly Regex _regex;

    /// <summary>A pattern known to be good.</summary>
    public CodePointRegex(Regex regex) => _regex = regex;

    /// <summary>A pattern out of a file.</summary>
    /// <exception cref="FormatException">It is no regular expression, or far too long.</exception>
    public CodePointRegex(string pattern)
    {
        if (pattern.Length > LongestPattern)
            throw new FormatException($"a pattern has {pattern.Length} characters");
        try
        {
            _regex = Open(pattern);
        }
        catch (ArgumentException e)
        {
            throw new FormatException($"the pattern '{DataFormatException.Printable(pattern)}' is not a regular expression that is supported ({DataFormatException.Printable(e.Message)})", e);
        }
    }

    /// <summary>Start and length of every match that is not empty, in order.</summary>
    /// <exception cref="RegexMatchTimeoutException">The pattern takes too long on this text.</exception>
    public IEnumerable<(int Start, int Length)> Matches(string text)
    {
        string plain = ToBasicPlane(text, out int[]? offsets);
        for (var match = _regex.Match(plain); match.Success; match = match.NextMatch())
        {
            if (match.Length == 0)
                continue;
            int start = match.Index, end = start + match.Length;
            yield return offsets is null ? (start, match.Length) : (offsets[start], offsets[end] - offsets[start]);
        }
    }

    private static Regex Open(string pattern)
    {
        try
        {
            return new Regex(pattern, RegexOptions.CultureInvariant | RegexOptions.NonBacktracking);
        }
        catch (NotSupportedException)   // it looks ahead, as most of them do at white space
        {
            return new Regex(pattern, RegexOptions.CultureInvariant, TimeSpan.FromMilliseconds(MatchMilliseconds));
        }
    }

    /// <summary>The text with one UTF-16 unit per code point, and where each began (one more than there are); the same text and no offsets where that is so already.</summary>
    internal static string ToBasicPlane(string text, out int[]? offsets)
    {
        offsets = null;
        if (!text.AsSpan().ContainsAnyInRange('\ud800', '\udfff'))
            return text;
        var plain = new StringBuilder(text.Length);
        offsets = new int[text.Length + 1];
        for (int at = 0; at < text.Length;)
        {
            Rune.DecodeFromUtf16(text.AsSpan(at), out var rune, out int length);
            offsets[plain.Length] = at;
            plain.Append(length == 1 ? text[at] : StandIn(Rune.GetUnicodeCategory(rune)));
            at += length;
        }
        offsets[plain.Length] = text.Length;
        return plain.ToString();
    }

    /// <summary>A character up to U+FFFF, rare and of no script that patterns name, of the category.</summary>
    internal static char StandIn(UnicodeCategory category) => category switch
    {
        UnicodeCategory.UppercaseLetter => '\u10a0',
        UnicodeCategory.LowercaseLetter => '\u2c30',
        UnicodeCategory.TitlecaseLetter => '\u01c5',
        UnicodeCategory.ModifierLetter => '\u02b0',
        UnicodeCategory.OtherLetter => '\ua000',
        UnicodeCategory.NonSpacingMark => '\u0483',
        UnicodeCategory.SpacingCombiningMark => '\u0903',
        UnicodeCategory.EnclosingMark => '\u0488',
        UnicodeCategory.DecimalDigitNumber => '\ua620',
        UnicodeCategory.LetterNumber => '\u2160',
        UnicodeCategory.OtherNumber => '\u2460',
        UnicodeCategory.ConnectorPunctuation => '\u203f',
        UnicodeCategory.DashPunctuation => '\u2015',
        UnicodeCategory.OpenPunctuation => '\u2045',
        UnicodeCategory.ClosePunctuation => '\u2046',
        UnicodeCategory.InitialQuotePunctuation => '\u2039',
        UnicodeCategory.FinalQuotePunctuation => '\u203a',
        UnicodeCategory.OtherPunctuation => '\u2016',
        UnicodeCategory.MathSymbol => '\u2200',
        UnicodeCategory.CurrencySymbol => '\u20a0',
        UnicodeCategory.ModifierSymbol => '\u02c2',
        UnicodeCategory.OtherSymbol => '\u2800',
        UnicodeCategory.Format => '\u2061',
        UnicodeCategory.PrivateUse => '\ue000',
        _ => '\uffff',   // not assigned
    };
}
