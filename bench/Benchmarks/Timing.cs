using System.Diagnostics;

namespace SorsaOrt.Benchmarks;

/// <summary>Seconds by the clock and of processor time, measurement by measurement.</summary>
/// <remarks>On a machine with other load, processor time with one thread is the steadier one: with several, threads that wait spin.</remarks>
public sealed class Timing
{
    private readonly List<(double Wall, double Cpu)> _seconds = [];

    /// <summary>Shortest time by the clock.</summary>
    public double Wall => _seconds.Min(s => s.Wall);

    /// <summary>Least processor time.</summary>
    public double Cpu => _seconds.Min(s => s.Cpu);

    /// <summary>Middle one of the times by the clock.</summary>
    public double MedianWall => _seconds.Select(s => s.Wall).Order().ElementAt(_seconds.Count / 2);

    /// <summary>Measures an action once more.</summary>
    public void Measure(Action action)
    {
        var cpu = Environment.CpuUsage.TotalTime;
        var watch = Stopwatch.StartNew();
        action();
        _seconds.Add((watch.Elapsed.TotalSeconds, (Environment.CpuUsage.TotalTime - cpu).TotalSeconds));
    }
}
