namespace SorsaOrt.Inference;

/// <summary>Ends a text before the first of some strings, and holds back what may be the beginning of one.</summary>
internal sealed class StopStrings(IReadOnlyList<string> strings)
{
    private string _held = "";

    /// <summary>Whether one has been found.</summary>
    public bool Found { get; private set; }

    /// <summary>Takes a piece of text and gives what of it, and of what was held back, is certain to belong to the answer.</summary>
    public string Append(string piece)
    {
        if (Found)
            return "";
        string text = _held + piece;
        int end = strings.Select(s => text.IndexOf(s, StringComparison.Ordinal)).Where(at => at >= 0).DefaultIfEmpty(-1).Min();
        Found = end >= 0;
        if (!Found)
            end = text.Length - strings.Select(s => Overlap(text, s)).DefaultIfEmpty(0).Max();
        _held = Found ? "" : text[end..];
        return text[..end];
    }

    /// <summary>What was held back, at the end of the text.</summary>
    public string Flush() => Found ? "" : _held;

    /// <summary>Characters at the end of a text that begin the string.</summary>
    private static int Overlap(string text, string stop)
    {
        int length = Math.Min(text.Length, stop.Length - 1);
        while (length > 0 && !text.AsSpan(text.Length - length).SequenceEqual(stop.AsSpan(0, length)))
            length--;
        return length;
    }
}
