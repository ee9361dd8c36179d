using System.Globalization;
using System.Text.Json;
using CommandLine;
using SorsaOrt.Benchmarks;

CultureInfo.DefaultThreadCurrentCulture = CultureInfo.CurrentCulture = CultureInfo.InvariantCulture;
using var parser = new Parser(settings =>
{
    settings.HelpWriter = Console.Error;
    settings.ParsingCulture = CultureInfo.InvariantCulture;
});
return parser.ParseArguments<StepOptions, LargeModelOptions, AllReduceOptions, GrowthOptions>(args).MapResult(
    (StepOptions options) => Run(() => StepBenchmark.Run(options) is var step && options.Json ? JsonSerializer.Serialize(step.Summary) : step.ToText()),
    (LargeModelOptions options) => Run(() => LargeModel.Write(options)),
    (AllReduceOptions options) => AllReduce.Run(options),
    (GrowthOptions options) => Run(() => Growth.Run(options)),
    _ => 2);

static int Run(Func<string> measure)
{
    try
    {
        Console.WriteLine(measure());
        return 0;
    }
    catch (Exception e)
    {
        Console.Error.WriteLine("bench: " + e.Message);
        return 1;
    }
}
