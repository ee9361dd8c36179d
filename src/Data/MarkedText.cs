using System.Text;

namespace SorsaOrt.Data;

/// <summary>Text under construction that remembers which stretches are data.</summary>
internal sealed class MarkedText
{
    private readonly StringBuilder _text = new();
    private readonly List<TextSpan> _data = [];

    /// <summary>Characters so far.</summary>
    public int Length => _text.Length;

    /// <summary>Adds text of the template.</summary>
    public MarkedText Add(string text)
    {
        _text.Append(text);
        return this;
    }

    /// <summary>Adds text of a row.</summary>
    public MarkedText AddData(string text)
    {
        if (text.Length > 0)
            _data.Add(new TextSpan(_text.Length, text.Length));
        return Add(text);
    }

    /// <summary>Adds what a chat template rendered.</summary>
    public MarkedText Add(IEnumerable<RenderedPart> parts)
    {
        foreach (var part in parts)
        {
            if (part.IsData)
                AddData(part.Text);
            else
                Add(part.Text);
        }
        return this;
    }

    /// <summary>Whether it begins with all of another.</summary>
    public bool StartsWith(MarkedText other) => _text.Length >= other.Length && _text.ToString(0, other.Length) == other._text.ToString();

    /// <summary>A stretch of it.</summary>
    public Segment ToSegment(bool learn, bool continues, int from = 0, int? to = null)
    {
        int end = to ?? _text.Length;
        var data = _data.Where(d => d.Start < end && d.Start + d.Length > from)
            .Select(d => new TextSpan(Math.Max(d.Start, from) - from, Math.Min(d.Start + d.Length, end) - Math.Max(d.Start, from)));
        return new Segment(_text.ToString(from, end - from), learn, continues, [.. data]);
    }

    /// <summary>Where its text ends, white space at the end left out.</summary>
    public int TrimmedLength => _text.ToString().TrimEnd().Length;
}
