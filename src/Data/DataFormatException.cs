using System.Text;

namespace SorsaOrt.Data;

/// <summary>A data, template or tokenizer file that cannot be used as it is. The message says what is wrong, where, and what to do.</summary>
public sealed class DataFormatException : Exception
{
    /// <summary>A whole file is at fault.</summary>
    public DataFormatException(string file, string reason, string remedy, Exception? innerException = null)
        : base($"{Printable(file)}: {reason}. {remedy}", innerException)
    {
        File = file;
        Reason = reason;
    }

    /// <summary>One row is at fault. <paramref name="line"/> counts from 1.</summary>
    public DataFormatException(string file, long line, string reason, string remedy, Exception? innerException = null)
        : base($"{Printable(file)}, line {line}: {reason}. {remedy}", innerException)
    {
        File = file;
        Line = line;
        Reason = reason;
    }

    /// <summary>With a whole message.</summary>
    public DataFormatException(string message) : base(message) { }

    /// <summary>With a whole message and its cause.</summary>
    public DataFormatException(string message, Exception innerException) : base(message, innerException) { }

    /// <summary>Without details.</summary>
    public DataFormatException() { }

    /// <summary>The file, as it was named by the caller.</summary>
    public string? File { get; }

    /// <summary>Line of the row in its file, from 1; null where the whole file is meant.</summary>
    public long? Line { get; }

    /// <summary>What is wrong, without place or remedy.</summary>
    public string? Reason { get; }

    /// <summary>A name out of a file, fit for a message: control characters escaped, at most 80 characters.</summary>
    internal static string Printable(string name)
    {
        const int Longest = 80;
        bool isPath = name.Contains('/', StringComparison.Ordinal) || name.Contains('\\', StringComparison.Ordinal);
        int shown = isPath ? Math.Min(name.Length, 4096) : Math.Min(name.Length, Longest);
        var text = new StringBuilder(shown);
        foreach (char c in name.AsSpan(0, shown))
        {
            if (char.IsControl(c) || char.IsSurrogate(c) || c is '\u2028' or '\u2029' or (>= '\u202a' and <= '\u202e') or (>= '\u2066' and <= '\u2069'))
                text.Append($"\\u{(int)c:x4}");
            else
                text.Append(c);
        }
        if (shown < name.Length)
            text.Append('…');
        return text.ToString();
    }
}
