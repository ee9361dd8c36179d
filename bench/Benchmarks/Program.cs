using System.Globalization;
using CommandLine;
using SorsaOrt.Benchmarks;

CultureInfo.DefaultThreadCurrentCulture = CultureInfo.CurrentCulture = CultureInfo.InvariantCulture;
using var parser = new Parser(settings =>
{
    settings.HelpWriter = Console.Error;
    settings.ParsingCulture = CultureInfo.InvariantCulture;
});
return parser.ParseArguments<StepOptions, LargeModelOptions, AllReduceOptions>(args).MapResult(
    (StepOptions options) => Run(() => StepBenchmark.Run(options).ToText()),
    (LargeModelOptions options) => Run(() => LargeModel.Write(options)),
    (AllReduceOptions options) => AllReduce.Run(options),
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
