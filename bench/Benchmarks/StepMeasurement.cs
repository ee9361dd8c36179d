using System.Text;

namespace SorsaOrt.Benchmarks;

/// <summary>What <see cref="StepBenchmark"/> found.</summary>
internal sealed record StepMeasurement
{
    public required string Title { get; init; }
    public required int Tokens { get; init; }
    public required int Labels { get; init; }
    public required double OpenSeconds { get; init; }
    public required Timing ForwardBackward { get; init; }
    public required Timing Update { get; init; }
    public required Timing Product { get; init; }
    public required StepWork Work { get; init; }
    public required long PeakBytes { get; init; }
    public required long AllocatedBytes { get; init; }
    public required double LossSum { get; init; }
    public required IReadOnlyList<OperatorShare> Operators { get; init; }

    /// <summary>The main figures, for programs.</summary>
    public StepSummary Summary => new(ForwardBackward.Wall + Update.Wall, Tokens / (ForwardBackward.Wall + Update.Wall), MatrixProduct.Gigaflops / Product.Wall, PeakBytes);

    /// <summary>The table, for people.</summary>
    public string ToText()
    {
        var (wall, tokensPerSecond, rate, _) = Summary;
        var (cpu, cpuRate) = (ForwardBackward.Cpu + Update.Cpu, MatrixProduct.Gigaflops / Product.Cpu);
        var text = new StringBuilder();
        text.AppendLine($"{Title}, {Tokens} tokens, {Labels} labels; loss {LossSum / Labels:F6}");
        text.AppendLine($"{"",-34}{"clock",12}{"processor",12}");
        Line("forward and backward, s", ForwardBackward.Wall, ForwardBackward.Cpu, "F4");
        Line("  middle one", ForwardBackward.MedianWall, double.NaN, "F4");
        Line("optimizer and regulariser, s", Update.Wall, Update.Cpu, "F4");
        Line("  share of the step, %", 100 * Update.Wall / wall, 100 * Update.Cpu / cpu, "F1");
        Line("tokens/s", tokensPerSecond, Tokens / cpu, "F1");
        Line($"sgemm {MatrixProduct.Size}³, GFLOP/s", rate, cpuRate, "F1");
        Line("tokens/s / GFLOP/s", tokensPerSecond / rate, Tokens / cpu / cpuRate, "F3");
        Line("share of the sgemm rate, %", 100 * Work.Compared / wall / rate, 100 * Work.Compared / cpu / cpuRate, "F1");
        Line("  with the adapters' products, %", 100 * (Work.Compared + Work.Adapters) / wall / rate, 100 * (Work.Compared + Work.Adapters) / cpu / cpuRate, "F1");
        text.AppendLine($"GFLOP: layers {Work.Layers:F2}, head {Work.Head:F2}, attention {Work.Attention:F2}, adapters {Work.Adapters:F2}");
        text.AppendLine($"opened in {OpenSeconds:F2} s, peak {PeakBytes / 1e6:F0} MB, {AllocatedBytes} managed bytes a step");
        if (Operators.Count > 0)
            text.AppendLine().AppendLine($"{"operator",-34}{"nodes",12}{"% of kernels",14}");
        foreach (var op in Operators.Where(o => o.Share >= 0.001))
            text.AppendLine($"{op.Operator,-34}{op.Nodes,12}{100 * op.Share,14:F1}");
        if (Operators.Count > 0)
            text.AppendLine($"{"all",-34}{Operators.Sum(o => o.Nodes),12}");
        return text.ToString();

        void Line(string what, double clock, double processor, string format) =>
            text.AppendLine($"{what,-34}{clock.ToString(format, null),12}{(double.IsNaN(processor) ? "" : processor.ToString(format, null)),12}");
    }
}

/// <summary>A step in four figures.</summary>
/// <param name="Seconds">The shortest, by the clock, with the optimizer.</param>
/// <param name="TokensPerSecond">At that time.</param>
/// <param name="SgemmGigaflops">10⁹ operations a second of the machine's own product, the fastest beside the steps.</param>
/// <param name="PeakBytes">Resident memory of the process at most.</param>
internal sealed record StepSummary(double Seconds, double TokensPerSecond, double SgemmGigaflops, long PeakBytes);
