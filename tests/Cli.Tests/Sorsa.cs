using System.Text.Json;
using Xunit;

namespace SorsaOrt.Cli.Tests;

/// <summary>The command line inside the test's own process: the same verbs, messages and exit codes, without the start of a program.</summary>
internal static class Sorsa
{
    /// <summary>What one command printed and how it ended.</summary>
    public sealed record Outcome(int ExitCode, string Out, string Error)
    {
        /// <summary>The JSON object on the last line of stdout.</summary>
        public JsonElement Json => JsonDocument.Parse(Out.TrimEnd().Split('\n')[^1]).RootElement;

        /// <summary>This outcome, when the exit code is <paramref name="code"/>; otherwise fails with what was printed.</summary>
        public Outcome Expect(int code)
        {
            Assert.True(ExitCode == code, $"exit code {ExitCode}, expected {code}\nstdout:\n{Out}\nstderr:\n{Error}");
            return this;
        }

        /// <summary>A refusal: exit code 2, nothing on stdout, a paragraph without a trace.</summary>
        public Outcome ExpectRefusal()
        {
            Expect(2);
            Assert.Empty(Out);
            Assert.StartsWith("sorsa: ", Error.TrimEnd().Split('\n')[^1], StringComparison.Ordinal);
            return ExpectNoTrace();
        }

        /// <summary>Whatever happened was foreseen: no stack trace, no exception that nobody thought of, nothing that a terminal would obey.</summary>
        public Outcome ExpectNoTrace()
        {
            Assert.DoesNotContain("   at ", Error, StringComparison.Ordinal);
            Assert.DoesNotContain("should not have", Error, StringComparison.Ordinal);
            Assert.DoesNotContain(Error, c => char.IsControl(c) && c != '\n');
            return this;
        }
    }

    /// <summary>Runs a command line.</summary>
    public static Outcome Run(params string[] arguments)
    {
        using StringWriter output = new(), error = new();
        var code = SorsaCommand.Run(arguments, new Terminal(output, error, isTerminal: false));
        return new Outcome(code, output.ToString(), error.ToString());
    }
}
