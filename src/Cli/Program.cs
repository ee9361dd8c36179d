using System.Globalization;
using System.Reflection;
using CommandLine;
using SorsaOrt.Cli;
using SorsaOrt.Cli.Verbs;

CultureInfo.DefaultThreadCurrentCulture = CultureInfo.CurrentCulture = CultureInfo.InvariantCulture;
CultureInfo.DefaultThreadCurrentUICulture = CultureInfo.CurrentUICulture = CultureInfo.InvariantCulture;

Type[] verbs =
[
    typeof(ExportVerb), typeof(InspectVerb), typeof(BuildArtifactsVerb), typeof(TrainVerb), typeof(MergeVerb), typeof(EvaluateVerb), typeof(GenerateVerb),
    typeof(ReportVerb), typeof(AnalyzeVerb), typeof(CompareVerb), typeof(DemoVerb),
];
var terminal = new Terminal();
var verbose = args.Contains("--verbose");
try
{
    var byName = verbs.ToDictionary(v => v.GetCustomAttribute<VerbAttribute>()!.Name, StringComparer.Ordinal);
    using var parser = new Parser(settings =>
    {
        settings.HelpWriter = null;
        settings.ParsingCulture = CultureInfo.InvariantCulture;
        settings.AllowMultiInstance = true;
    });
    var parsed = parser.ParseArguments(ConfigFile.Expand(args, byName), verbs);
    return parsed.MapResult(
        (VerbOptions verb) => verb.Run(terminal),
        errors => Usage.Explain(terminal, parsed, [.. errors]));
}
catch (Exception e)
{
    return Failure.Report(terminal, e, verbose);
}
