using System.Text;
using System.Text.Json;

namespace SorsaOrt.Data.TokenizerJson;

/// <summary>What is done to a text before it is cut into words. <paramref name="continues"/>: it goes on from text before, so nothing is put in front of it.</summary>
internal delegate string Normalizer(string text, bool continues);

/// <summary>The "normalizer" of a tokenizer.json.</summary>
internal static class Normalizers
{
    /// <summary>Reads it; null: the text stays as it is.</summary>
    /// <exception cref="FormatException">It is of a kind that is not supported.</exception>
    public static Normalizer? Parse(JsonElement? element)
    {
        if (element is not { } step)
            return null;
        switch (step.StepType("normalizer"))
        {
            case "Sequence":
                Normalizer[] steps = [.. step.Need("normalizers", JsonValueKind.Array, "a list").EnumerateArray().Select(e => Parse(e)).OfType<Normalizer>()];
                return (text, continues) => steps.Aggregate(text, (t, s) => s(t, continues));
            case "NFC":
                return (text, _) => CanonicalForm.Compose(text);
            case "NFD":
                return (text, _) => CanonicalForm.Decompose(text);
            case "Lowercase":
                return (text, _) => text.ToLowerInvariant();
            case "Prepend":
                string before = step.TextOrNull("prepend") ?? "";
                return (text, continues) => continues || text.Length == 0 ? text : before + text;
            case "Replace":
                return Replace(step);
            case var other:
                throw new FormatException($"the normalizer '{DataFormatException.Printable(other)}' is not supported");
        }
    }

    private static Normalizer Replace(JsonElement step)
    {
        string content = step.TextOrNull("content") ?? throw new FormatException("a normalizer Replace has no 'content'");
        var pattern = step.Need("pattern", JsonValueKind.Object, "an object");
        if (pattern.TextOrNull("String") is { Length: > 0 } literal)
            return (text, _) => text.Replace(literal, content, StringComparison.Ordinal);
        var regex = new CodePointRegex(pattern.TextOrNull("Regex") ?? throw new FormatException("a normalizer Replace has no pattern"));
        return (text, _) =>
        {
            var result = new StringBuilder();
            int from = 0;
            foreach (var (start, length) in regex.Matches(text))
            {
                result.Append(text, from, start - from).Append(content);
                from = start + length;
            }
            return result.Append(text, from, text.Length - from).ToString();
        };
    }
}
