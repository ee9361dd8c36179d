using ScottPlot;

namespace SorsaOrt.Analysis;

/// <summary>The paper's scatter plot: ΔΣ to the right, ΔD upwards, a point for each target, a colour for each label.</summary>
public static class MovementPlot
{
    private const int Width = 1000;
    private const int Height = 700;

    /// <summary>The picture as PNG. Models of one label are joined target by target, from the base at the origin on.</summary>
    public static byte[] Draw(IReadOnlyList<ModelMovement> models)
    {
        using var plot = new Plot();
        var palette = new ScottPlot.Palettes.Category10();
        foreach (var (index, series) in models.GroupBy(m => m.Model.Label).Index())
        {
            var path = series.ToList();
            var color = palette.GetColor(index);
            for (var t = 0; t < path[0].Targets.Count; t++)
            {
                double[] x = [0, .. path.Select(m => m.Targets[t].Movement.MeanSigma)];
                double[] y = [0, .. path.Select(m => m.Targets[t].Movement.Directions)];
                var line = plot.Add.Scatter(x, y, color.WithAlpha(0.25));
                line.MarkerSize = 0;
            }
            var movements = path.SelectMany(m => m.Targets).Select(t => t.Movement).ToArray();
            var points = plot.Add.ScatterPoints(Array.ConvertAll(movements, m => m.MeanSigma), Array.ConvertAll(movements, m => m.Directions), color);
            points.MarkerSize = 6;
            points.LegendText = series.Key;
            var mean = plot.Add.Marker(path[^1].MeanSigma, path[^1].Directions, MarkerShape.FilledDiamond, 16, color);
            mean.LegendText = $"{series.Key}, mean";
        }
        plot.Title("How far training moved each weight");
        plot.XLabel("ΔΣ: mean |Δσ| of the singular values");
        plot.YLabel("ΔD: turn of the singular vectors, 0 to 1");
        plot.Axes.Left.Label.Bold = plot.Axes.Bottom.Label.Bold = false;
        plot.ShowLegend(Alignment.UpperLeft);
        plot.Axes.AutoScale();
        plot.Axes.SetLimits(left: 0, bottom: 0);
        return plot.GetImageBytes(Width, Height, ImageFormat.Png);
    }
}
