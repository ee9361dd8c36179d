using System.Globalization;
using ScottPlot;

namespace SorsaOrt.Benchmarks;

/// <summary>Draws <see cref="Growth"/>: what is varied to the right, seconds a step above and peak memory below.</summary>
internal static class GrowthPlot
{
    private static readonly (string Series, string Axis)[] Columns =
        [("length", "tokens of the one row"), ("rank", "rank (2 × 256 tokens)"), ("layers", "layers (2 × 256 tokens)")];

    private static readonly Color Dark = Color.FromHex("#1f5fa6");
    private static readonly Color Accent = Color.FromHex("#c8501e");

    /// <summary>Writes the picture.</summary>
    public static void Save(IReadOnlyList<GrowthResult> results, string path)
    {
        var pictures = new Multiplot();
        pictures.AddPlots(2 * Columns.Length);
        pictures.Layout = new ScottPlot.MultiplotLayouts.Grid(rows: 2, columns: Columns.Length);
        foreach (var (column, (series, axis)) in Columns.Index())
        {
            var points = results.Where(r => r.Point.Series == series).ToList();
            Draw(pictures.GetPlot(column), points, axis, "seconds a step", s => s.Seconds);
            Draw(pictures.GetPlot(Columns.Length + column), points, axis, "peak memory, GB", s => s.PeakBytes / 1e9);
        }
        pictures.SavePng(path, 1350, 760);
    }

    private static void Draw(Plot plot, IReadOnlyList<GrowthResult> results, string axis, string quantity, Func<StepSummary, double> value)
    {
        foreach (var curve in results.GroupBy(r => r.Point.Recompute).OrderBy(g => g.Key))
        {
            var ordered = curve.OrderBy(r => r.Point.Varied).ToList();
            var line = plot.Add.Scatter(ordered.ConvertAll(r => (double)r.Point.Varied), ordered.ConvertAll(r => value(r.Step)), curve.Key ? Accent : Dark);
            line.LineWidth = 2;
            line.MarkerSize = 6;
            line.LegendText = curve.Key ? "--recompute layer" : "default";
        }
        plot.Axes.SetLimitsY(0, results.Max(r => value(r.Step)) * 1.05);
        plot.Axes.Bottom.SetTicks([.. results.Select(r => (double)r.Point.Varied).Distinct()],
            [.. results.Select(r => r.Point.Varied).Distinct().Select(v => v is 128 && results[0].Point.Series == "length" ? "" : v.ToString(CultureInfo.InvariantCulture))]);
        plot.XLabel(axis);
        plot.YLabel(quantity);
        plot.Axes.Left.Label.Bold = plot.Axes.Bottom.Label.Bold = false;
        plot.ShowLegend(Alignment.UpperLeft);
    }
}
