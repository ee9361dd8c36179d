using System.Text.Json;
using Xunit;

namespace SorsaOrt.TestSupport;

/// <summary>What one run of the command line printed and how it ended.</summary>
/// <param name="ExitCode">Exit code; of a process ended by a signal 128 and its number.</param>
/// <param name="Out">Standard output.</param>
/// <param name="Error">Standard error.</param>
public sealed record CommandOutcome(int ExitCode, string Out, string Error)
{
    /// <summary>The JSON object on the last line of stdout.</summary>
    public JsonElement Json => JsonDocument.Parse(Out.TrimEnd().Split('\n')[^1]).RootElement;

    /// <summary>This outcome, when the exit code is <paramref name="code"/>; otherwise fails with what was printed.</summary>
    public CommandOutcome Expect(int code)
    {
        Assert.True(ExitCode == code, $"exit code {ExitCode}, expected {code}\nstdout:\n{Out}\nstderr:\n{Error}");
        return this;
    }

    /// <summary>A refusal: exit code 2, nothing on stdout, a paragraph without a trace.</summary>
    public CommandOutcome ExpectRefusal() => ExpectError(2);

    /// <summary>An error: that exit code, nothing on stdout, the last line a paragraph without a trace.</summary>
    public CommandOutcome ExpectError(int code)
    {
        Expect(code);
        Assert.Empty(Out);
        Assert.StartsWith("sorsa: ", Error.TrimEnd().Split('\n')[^1], StringComparison.Ordinal);
        return ExpectNoTrace();
    }

    /// <summary>Whatever happened was foreseen: no stack trace, no exception that nobody thought of, nothing that a terminal would obey.</summary>
    public CommandOutcome ExpectNoTrace()
    {
        Assert.DoesNotContain("   at ", Error, StringComparison.Ordinal);
        Assert.DoesNotContain("should not have", Error, StringComparison.Ordinal);
        Assert.DoesNotContain(Error, c => char.IsControl(c) && c != '\n');
        return this;
    }

    /// <summary>This outcome, when stderr holds every one of <paramref name="texts"/>.</summary>
    public CommandOutcome Names(params ReadOnlySpan<string> texts)
    {
        foreach (var text in texts)
            Assert.Contains(text, Error, StringComparison.Ordinal);
        return this;
    }
}
