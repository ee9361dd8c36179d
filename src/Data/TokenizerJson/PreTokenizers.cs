using System.Text.Json;
using System.Text.RegularExpressions;

namespace SorsaOrt.Data.TokenizerJson;

/// <summary>A piece of text on its way to words.</summary>
/// <param name="Text">The text.</param>
/// <param name="Continues">It goes on from text encoded before: no space is put in front of it.</param>
/// <param name="IsFirst">It begins the text.</param>
internal readonly record struct Piece(string Text, bool Continues, bool IsFirst);

/// <summary>Cuts a piece into smaller ones.</summary>
internal delegate IEnumerable<Piece> PreTokenizer(Piece piece);

/// <summary>The "pre_tokenizer" of a tokenizer.json: how a text is cut into words, over which no merge reaches.</summary>
/// <remarks>Source: huggingface/tokenizers, pre_tokenizers/{byte_level,digits,split,metaspace,sequence}.rs and tokenizer/normalizer.rs (SplitDelimiterBehavior).</remarks>
internal static class PreTokenizers
{
    private static readonly CodePointRegex Digit = new(new Regex(@"\p{N}", RegexOptions.CultureInvariant | RegexOptions.NonBacktracking));
    private static readonly CodePointRegex Digits = new(new Regex(@"\p{N}+", RegexOptions.CultureInvariant | RegexOptions.NonBacktracking));
    private static readonly CodePointRegex Gpt2 = new(ByteLevel.Words);

    /// <summary>Reads it; null: the text is one word.</summary>
    /// <exception cref="FormatException">It is of a kind that is not supported.</exception>
    public static PreTokenizer? Parse(JsonElement? element)
    {
        if (element is not { } step)
            return null;
        switch (step.StepType("pre-tokenizer"))
        {
            case "Sequence":
                PreTokenizer[] steps = [.. step.Need("pretokenizers", JsonValueKind.Array, "a list").EnumerateArray().Select(e => Parse(e)).OfType<PreTokenizer>()];
                return piece => steps.Aggregate((IEnumerable<Piece>)[piece], (pieces, s) => pieces.SelectMany(p => s(p)));
            case "ByteLevel":
                bool space = step.IsTrue("add_prefix_space", otherwise: true), words = step.IsTrue("use_regex", otherwise: true);
                return piece => ByteLetters(piece, space, words);
            case "Digits":
                var digits = step.IsTrue("individual_digits") ? Digit : Digits;
                return piece => Cut(piece, digits.Matches, "Isolated", invert: false);
            case "Split":
                return Split(step);
            case "Metaspace":
                return Metaspace(step);
            case var other:
                throw new FormatException($"the pre-tokenizer '{DataFormatException.Printable(other)}' is not supported");
        }
    }

    private static IEnumerable<Piece> ByteLetters(Piece piece, bool space, bool words)
    {
        if (space && !piece.Continues && !piece.Text.StartsWith(' '))
            piece = piece with { Text = " " + piece.Text };
        return (words ? Cut(piece, Gpt2.Matches, "Isolated", invert: false) : [piece]).Select(p => p with { Text = ByteLevel.ToLetters(p.Text) });
    }

    private static PreTokenizer Split(JsonElement step)
    {
        string behavior = step.TextOrNull("behavior") ?? "";
        if (behavior is not ("Removed" or "Isolated" or "MergedWithPrevious" or "MergedWithNext" or "Contiguous"))
            throw new FormatException($"a pre-tokenizer Split has the behavior '{DataFormatException.Printable(behavior)}', which is not known");
        bool invert = step.IsTrue("invert");
        var pattern = step.Need("pattern", JsonValueKind.Object, "an object");
        if (pattern.TextOrNull("String") is { Length: > 0 } literal)
            return piece => Cut(piece, text => Occurrences(text, literal), behavior, invert);
        var regex = new CodePointRegex(pattern.TextOrNull("Regex") ?? throw new FormatException("a pre-tokenizer Split has no pattern"));
        return piece => Cut(piece, regex.Matches, behavior, invert);
    }

    private static PreTokenizer Metaspace(JsonElement step)
    {
        if (step.TextOrNull("replacement") is not { Length: 1 } replacement)
            throw new FormatException("a pre-tokenizer Metaspace has no 'replacement' of one character");
        string scheme = step.TextOrNull("prepend_scheme") ?? (step.IsTrue("add_prefix_space", otherwise: true) ? "always" : "never");
        bool split = step.IsTrue("split", otherwise: true);
        return piece =>
        {
            string text = piece.Text.Replace(" ", replacement, StringComparison.Ordinal);
            bool prepend = !piece.Continues && (scheme == "always" || scheme == "first" && piece.IsFirst);
            if (prepend && !text.StartsWith(replacement, StringComparison.Ordinal))
                text = replacement + text;
            piece = piece with { Text = text };
            return split ? Cut(piece, t => Occurrences(t, replacement), "MergedWithNext", invert: false) : [piece];
        };
    }

    private static IEnumerable<(int Start, int Length)> Occurrences(string text, string literal)
    {
        for (int at = text.IndexOf(literal, StringComparison.Ordinal); at >= 0; at = text.IndexOf(literal, at + literal.Length, StringComparison.Ordinal))
            yield return (at, literal.Length);
    }

    private static IEnumerable<Piece> Cut(Piece piece, Func<string, IEnumerable<(int Start, int Length)>> matches, string behavior, bool invert)
    {
        var parts = Parts(piece.Text, matches(piece.Text), invert);
        if (behavior != "Isolated")
            parts = Joined(parts, behavior);
        return parts.Select(part => new Piece(piece.Text.Substring(part.Start, part.Length), piece.Continues && part.Start == 0, piece.IsFirst && part.Start == 0));
    }

    private static IEnumerable<(int Start, int Length, bool IsMatch)> Parts(string text, IEnumerable<(int Start, int Length)> matches, bool invert)
    {
        int from = 0;
        foreach (var (start, length) in matches)
        {
            if (start > from)
                yield return (from, start - from, invert);
            yield return (start, length, !invert);
            from = start + length;
        }
        if (from < text.Length)
            yield return (from, text.Length - from, invert);
    }

    private static List<(int Start, int Length, bool IsMatch)> Joined(IEnumerable<(int Start, int Length, bool IsMatch)> parts, string behavior)
    {
        var joined = new List<(int Start, int Length, bool IsMatch)>();
        bool beforeWasMatch = false;
        foreach (var part in parts)
        {
            bool toPrevious = joined.Count > 0 && behavior switch
            {
                "MergedWithPrevious" => part.IsMatch && !beforeWasMatch,
                "MergedWithNext" => !part.IsMatch && beforeWasMatch,
                "Contiguous" => part.IsMatch == beforeWasMatch,
                _ => false,
            };
            beforeWasMatch = part.IsMatch;
            if (behavior == "Removed" && part.IsMatch)
                continue;
            if (toPrevious)
                joined[^1] = joined[^1] with { Length = joined[^1].Length + part.Length };
            else
                joined.Add(part);
        }
        return joined;
    }
}
