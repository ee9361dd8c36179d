using System.Text.Json;
using SorsaOrt.Artifacts;

namespace SorsaOrt.Report;

/// <summary>A quantity over optimizer steps.</summary>
/// <param name="Steps">Steps, ascending.</param>
/// <param name="Values">Its value after each.</param>
public sealed record Curve(double[] Steps, double[] Values)
{
    /// <summary>Whether there is anything to draw.</summary>
    public bool IsEmpty => Steps.Length == 0;

    /// <summary>The mean over a window of about a twentieth of the curve, centred on each step and cut at the ends.</summary>
    public Curve Smoothed()
    {
        var half = Values.Length / 40;
        var sums = new double[Values.Length + 1];
        for (var i = 0; i < Values.Length; i++)
            sums[i + 1] = sums[i] + Values[i];
        return new Curve(Steps, [.. Values.Select((_, i) =>
        {
            // The same number of steps on both sides, so that the curve neither lags nor bends at its ends.
            var reach = Math.Min(half, Math.Min(i, Values.Length - 1 - i));
            return (sums[i + reach + 1] - sums[i - reach]) / (2 * reach + 1);
        })]);
    }

    /// <summary>At most <paramref name="points"/> points: of each stretch of steps the lowest and the highest value, so that no peak is lost.</summary>
    public Curve Thinned(int points)
    {
        if (Steps.Length <= points)
            return this;
        var kept = new SortedSet<int> { 0, Steps.Length - 1 };
        var stretches = Math.Max(1, points / 2 - 1);
        for (var s = 0; s < stretches; s++)
        {
            var (from, to) = ((int)((long)s * Steps.Length / stretches), (int)((long)(s + 1) * Steps.Length / stretches));
            var (low, high) = (from, from);
            for (var i = from; i < to; i++)
            {
                low = Values[i] < Values[low] ? i : low;
                high = Values[i] > Values[high] ? i : high;
            }
            kept.Add(low);
            kept.Add(high);
        }
        return new Curve([.. kept.Select(i => Steps[i])], [.. kept.Select(i => Values[i])]);
    }
}

/// <summary>What metrics.jsonl of a run says, quantity by quantity.</summary>
public sealed class RunCurves
{
    private readonly List<JsonElement> _training = [];
    private readonly List<JsonElement> _evaluation = [];

    private RunCurves()
    {
    }

    /// <summary>Optimizer steps logged.</summary>
    public int StepCount => _training.Count;

    /// <summary>Reads a run's metrics.</summary>
    /// <exception cref="InvalidDataException">There is no step yet.</exception>
    public static RunCurves Read(string runFolder)
    {
        var path = Path.Combine(runFolder, CheckpointFiles.Metrics);
        var curves = new RunCurves();
        foreach (var line in MetricsLog.Read(path))
            (line.TryGetProperty("eval_loss", out _) ? curves._evaluation : curves._training).Add(line);
        return curves.StepCount > 0 ? curves : throw new InvalidDataException($"'{path}' holds no training step yet; there is nothing to draw.");
    }

    /// <summary>A field of the lines of training steps; lines without it, or with a value that is no number, are left out.</summary>
    public Curve Training(string field) => Of(_training, field);

    /// <summary>A field of the lines of evaluations.</summary>
    public Curve Evaluation(string field) => Of(_evaluation, field);

    private static Curve Of(List<JsonElement> lines, string field)
    {
        var points = lines.Select(l => (Step: Number(l, "step"), Value: Number(l, field))).Where(p => double.IsFinite(p.Value)).ToArray();
        return new Curve([.. points.Select(p => p.Step)], [.. points.Select(p => p.Value)]);
    }

    private static double Number(JsonElement line, string field) =>
        line.TryGetProperty(field, out var value) && value.ValueKind == JsonValueKind.Number ? value.GetDouble() : double.NaN;
}
