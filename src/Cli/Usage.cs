using CommandLine;
using CommandLine.Text;

namespace SorsaOrt.Cli;

/// <summary>Help, version, and what is wrong with a command line.</summary>
internal static class Usage
{
    /// <summary>Prints help to stdout (exit code 0) or the faults to stderr (exit code 2).</summary>
    public static int Explain(Terminal terminal, string[] arguments, ParserResult<object> parsed, IReadOnlyList<Error> errors)
    {
        if (errors.IsVersion())
        {
            terminal.Result("sorsa " + typeof(Usage).Assembly.GetName().Version?.ToString(3));
            return ExitCode.Done;
        }
        if (errors.IsHelp())
        {
            terminal.Result(HelpText.AutoBuild(parsed, help =>
            {
                help.Heading = "sorsa: fine-tunes an exported Llama ONNX model with SORSA and gives back the same ONNX model";
                help.Copyright = "";
                help.AddDashesToOption = true;
                help.AdditionalNewLineAfterOption = false;
                help.MaximumDisplayWidth = 130;
                return HelpText.DefaultParsingErrorsHandler(parsed, help);
            }, e => e, verbsIndex: true).ToString());
            return ExitCode.Done;
        }
        var exclusive = errors.OfType<MutuallyExclusiveSetError>().Select(e => "--" + e.NameInfo.LongName).Distinct().ToList();
        var faults = errors.Where(e => e is not MutuallyExclusiveSetError).Select(e => Describe(e, arguments)).ToList();
        if (exclusive.Remove("--resume"))
            faults.Add($"--resume goes on with the run's own settings: leave out {string.Join(", ", exclusive)}");
        else if (exclusive.Count > 0)
            faults.Add($"{string.Join(", ", exclusive)} do not go together");
        terminal.Note("sorsa: " + string.Join("; ", faults) + ". `sorsa --help` and `sorsa VERB --help` list what there is.");
        return ExitCode.BadInput;
    }

    private static string Describe(Error error, string[] arguments) => error switch
    {
        NoVerbSelectedError => "no verb given",
        BadVerbSelectedError e => $"there is no verb '{Printable.Text(e.Token)}'",
        UnknownOptionError e => $"there is no option --{Printable.Text(e.Token)}",
        MissingValueOptionError e => $"--{e.NameInfo.LongName} needs a value",
        MissingRequiredOptionError e => $"--{e.NameInfo.LongName} is needed",
        BadFormatConversionError e => $"--{e.NameInfo.LongName} '{Printable.Text(ValueOf(e.NameInfo.LongName, arguments) ?? "")}' is not a number of the right kind or size",
        RepeatedOptionError e => $"--{e.NameInfo.LongName} is given twice",
        SequenceOutOfRangeError e => $"--{e.NameInfo.LongName} has too many or too few values",
        BadFormatTokenError e => $"'{Printable.Text(e.Token)}' is not understood",
        _ => error.Tag.ToString(),
    };

    /// <summary>The value that an option has on the command line, the last one where it is given twice; null where it is not given.</summary>
    public static string? ValueOf(string option, string[] arguments)
    {
        for (var i = arguments.Length - 1; i >= 0; i--)
        {
            if (arguments[i].StartsWith($"--{option}=", StringComparison.Ordinal))
                return arguments[i][(option.Length + 3)..];
            if (arguments[i] == "--" + option)
                return i + 1 < arguments.Length ? arguments[i + 1] : "";
        }
        return null;
    }
}

/// <summary>Exit codes of the command line's contract.</summary>
internal static class ExitCode
{
    public const int Done = 0;
    public const int Failed = 1;
    public const int BadInput = 2;
    public const int Interrupted = 130;
}
