using System.Globalization;
using System.Reflection;
using CommandLine;
using SorsaOrt.Cli.Verbs;
using SorsaOrt.Trainer;

namespace SorsaOrt.Cli;

/// <summary>A command line carried out: one verb, its output and its exit code.</summary>
internal static class SorsaCommand
{
    private static readonly Type[] Verbs =
    [
        typeof(ExportVerb), typeof(InspectVerb), typeof(BuildArtifactsVerb), typeof(TrainVerb), typeof(MergeVerb), typeof(ExportAdapterVerb), typeof(ConvertCheckpointVerb), typeof(EvaluateVerb), typeof(GenerateVerb),
        typeof(ReportVerb), typeof(AnalyzeVerb), typeof(CompareVerb), typeof(DemoVerb),
    ];

    /// <summary>Runs <paramref name="arguments"/>; whatever goes wrong is told in one paragraph and gives an exit code of the contract.</summary>
    public static int Run(string[] arguments, Terminal terminal)
    {
        // Every rank reads the same command line: what is wrong with it the first says, whose exit code becomes mpirun's.
        var isOther = Ranks.IsStartedAsOther;
        var told = isOther ? Terminal.Silent : terminal;
        try
        {
            var byName = Verbs.ToDictionary(v => v.GetCustomAttribute<VerbAttribute>()!.Name, StringComparer.Ordinal);
            using var parser = new Parser(settings =>
            {
                settings.HelpWriter = null;
                settings.ParsingCulture = CultureInfo.InvariantCulture;
                settings.AllowMultiInstance = true;
            });
            var expanded = ConfigFile.Expand(arguments, byName);
            if (expanded.Length > 0 && byName.TryGetValue(expanded[0], out var verbType))
                expanded = CommandArguments.Normalize(expanded, verbType);
            var parsed = parser.ParseArguments(expanded, Verbs);
            return parsed.MapResult(
                (VerbOptions verb) => verb is not TrainVerb && Ranks.StartedCount > 1
                    ? throw new UsageException($"`sorsa {expanded[0]}` is work for one process: start it without mpirun, which is for `sorsa train`.")
                    : Run(verb, terminal),
                errors => Usage.Explain(told, expanded, parsed, [.. errors]) is var code && isOther ? ExitCode.Done : code);
        }
        catch (Exception e)
        {
            var code = Failure.Report(told, e, subject: null, verbose: arguments.Contains("--verbose"));
            return isOther ? ExitCode.Done : code;
        }
    }

    private static int Run(VerbOptions verb, Terminal terminal)
    {
        try
        {
            return verb.Run(terminal);
        }
        catch (Exception e)
        {
            return Failure.Report(terminal, e, verb.Subject, verb.Verbose);
        }
    }
}
