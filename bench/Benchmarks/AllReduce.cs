using System.Diagnostics;
using System.Globalization;
using CommandLine;
using SorsaOrt.Engines;
using SorsaOrt.Trainer;

namespace SorsaOrt.Benchmarks;

/// <summary>Sizes that <see cref="AllReduce"/> measures.</summary>
[Verb("allreduce", HelpText = "Measure the exchange of a training step between the ranks of mpirun.")]
public sealed class AllReduceOptions
{
    [Value(0, MetaName = "MB", HelpText = "Sizes of the flat gradient in MB (10⁶ bytes); default 20 and 160.")]
    public IEnumerable<double> Megabytes { get; set; } = [];
}

/// <summary>What the ranks' one exchange of a training step takes, beside what a ring would take at the bandwidth that a broadcast shows (docs/scale.md).</summary>
/// <remarks>To be started by mpirun; the code is that of training, <see cref="Ranks.Sum(FlatBuffer{float})"/>.</remarks>
internal static class AllReduce
{
    private const int Repetitions = 9;

    /// <summary>Measures each size.</summary>
    /// <returns>Exit code.</returns>
    public static int Run(AllReduceOptions options)
    {
        using var ranks = Ranks.Join();
        if (ranks.Count == 1)
        {
            Console.Error.WriteLine("bench: one process has nothing to exchange; start it with mpirun -n N, as scripts/allreduce does.");
            return 2;
        }
        if (ranks.IsFirst)
            Console.WriteLine($"{ranks.Count} ranks\n{"MB",8}{"all-reduce ms",16}{"broadcast ms",16}{"GB/s",8}{"ring model ms",16}");
        foreach (var size in options.Megabytes.Any() ? options.Megabytes : [20, 160])
        {
            var bytes = (long)(size * 1e6);
            using var values = new FlatBuffer<float>(bytes / sizeof(float));
            var reduce = Median(ranks, () => ranks.Sum(values));
            var broadcast = Median(ranks, () => ranks.TakeFirst(values));
            if (!ranks.IsFirst)
                continue;
            var rate = bytes / broadcast;
            var model = 2.0 * (ranks.Count - 1) / ranks.Count * bytes / rate;
            Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{size,8}{1e3 * reduce,16:0.0}{1e3 * broadcast,16:0.0}{rate / 1e9,8:0.00}{1e3 * model,16:0.0}"));
        }
        return 0;
    }

    private static double Median(Ranks ranks, Action exchange)
    {
        exchange(); // The library sets up its buffers at the first one.
        var seconds = new List<double>();
        for (var i = 0; i < Repetitions; i++)
        {
            ranks.Together(() => { });
            var time = Stopwatch.StartNew();
            exchange();
            ranks.Together(() => { }); // Until the last rank is done.
            seconds.Add(time.Elapsed.TotalSeconds);
        }
        seconds.Sort();
        return seconds[Repetitions / 2];
    }
}
