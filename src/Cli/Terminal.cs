using System.Diagnostics;
using System.Globalization;
using System.Text.Json;

namespace SorsaOrt.Cli;

/// <summary>Results go to stdout, everything else to stderr; a progress line is rewritten only on a terminal.</summary>
/// <param name="output">Where results go.</param>
/// <param name="error">Where progress, warnings and errors go.</param>
/// <param name="isTerminal">Whether <paramref name="error"/> is a screen, where progress is rewritten in place.</param>
internal sealed class Terminal(TextWriter output, TextWriter error, bool isTerminal)
{
    /// <summary>One that says nothing.</summary>
    public static Terminal Silent { get; } = new(TextWriter.Null, TextWriter.Null, isTerminal: false);

    private readonly Stopwatch _sinceProgress = Stopwatch.StartNew();
    private int _progressWidth;
    private bool _progressShown;

    /// <summary>A line of results.</summary>
    public void Result(string line)
    {
        ClearProgress();
        output.WriteLine(line);
    }

    /// <summary>Results without a line end, for streamed text.</summary>
    public void Stream(string text)
    {
        ClearProgress();
        output.Write(text);
        output.Flush();
    }

    /// <summary>The JSON object that ends the output of <c>--json</c>.</summary>
    public void ResultJson(object value) => Result(JsonSerializer.Serialize(value, JsonSettings.OneLine));

    /// <summary>A line about what is going on, a warning or an error.</summary>
    public void Note(string line)
    {
        ClearProgress();
        error.WriteLine(line);
    }

    /// <summary>Progress: rewrites its line on a terminal, otherwise a line every ten seconds.</summary>
    public void Progress(string line)
    {
        if (isTerminal)
        {
            error.Write("\r" + line.PadRight(_progressWidth));
            _progressWidth = line.Length;
        }
        else if (!_progressShown || _sinceProgress.Elapsed.TotalSeconds >= 10)
        {
            error.WriteLine(line);
            _sinceProgress.Restart();
        }
        _progressShown = true;
    }

    /// <summary>A duration as people read it: 4 s, 3 min 20 s, 2 h 05 min.</summary>
    public static string Duration(TimeSpan time) => time.TotalSeconds switch
    {
        < 10 => time.TotalSeconds.ToString("0.0", CultureInfo.InvariantCulture) + " s",
        < 60 => time.TotalSeconds.ToString("0", CultureInfo.InvariantCulture) + " s",
        < 3600 => string.Create(CultureInfo.InvariantCulture, $"{(int)time.TotalMinutes} min {time.Seconds:00} s"),
        _ => string.Create(CultureInfo.InvariantCulture, $"{(int)time.TotalHours} h {time.Minutes:00} min"),
    };

    private void ClearProgress()
    {
        if (isTerminal && _progressWidth > 0)
        {
            error.Write("\r" + new string(' ', _progressWidth) + "\r");
            _progressWidth = 0;
        }
    }
}

/// <summary>JSON as the command line prints it.</summary>
internal static class JsonSettings
{
    /// <summary>snake_case keys, one line.</summary>
    public static readonly JsonSerializerOptions OneLine = new() { PropertyNamingPolicy = JsonNamingPolicy.SnakeCaseLower };

    /// <summary>The same for files that people read.</summary>
    public static readonly JsonSerializerOptions Indented = new(OneLine) { WriteIndented = true, NewLine = "\n" };
}
