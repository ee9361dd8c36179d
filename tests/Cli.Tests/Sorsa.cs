using SorsaOrt.TestSupport;

namespace SorsaOrt.Cli.Tests;

/// <summary>The command line inside the test's own process: the same verbs, messages and exit codes, without the start of a program.</summary>
internal static class Sorsa
{
    /// <summary>Runs a command line.</summary>
    public static CommandOutcome Run(params string[] arguments)
    {
        using StringWriter output = new(), error = new();
        var code = SorsaCommand.Run(arguments, new Terminal(output, error, isTerminal: false));
        return new CommandOutcome(code, output.ToString(), error.ToString());
    }
}
