using System.Globalization;
using CommandLine;
using SorsaOrt.Benchmarks;

CultureInfo.DefaultThreadCurrentCulture = CultureInfo.CurrentCulture = CultureInfo.InvariantCulture;
using var parser = new Parser(settings =>
{
    settings.HelpWriter = Console.Error;
    settings.ParsingCulture = CultureInfo.InvariantCulture;
});
return parser.ParseArguments<StepOptions>(args).MapResult(Run, _ => 2);

static int Run(StepOptions options)
{
    try
    {
        Console.WriteLine(StepBenchmark.Run(options).ToText());
        return 0;
    }
    catch (Exception e)
    {
        Console.Error.WriteLine("bench: " + e.Message);
        return 1;
    }
}
