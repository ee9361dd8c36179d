using ScottPlot;

namespace SorsaOrt.Report;

/// <summary>The pictures of a run. Steps to the right, the quantity upwards.</summary>
internal static class Charts
{
    // More points than pixels only make the page slow.
    private const int MostPoints = 2000;

    private static readonly Color Light = Color.FromHex("#9ec5e8");
    private static readonly Color Dark = Color.FromHex("#1f5fa6");
    private static readonly Color Accent = Color.FromHex("#c8501e");

    /// <summary>Training loss, its smoothed course, and the evaluation loss where there is one.</summary>
    public static Plot Loss(RunCurves curves)
    {
        var loss = curves.Training("loss");
        var plot = New("Loss", "nats per label token");
        Line(plot, loss, Light, 1, "training");
        if (loss.Steps.Length >= 40)
            Line(plot, loss.Smoothed(), Dark, 2.5f, "training, smoothed");
        if (curves.Evaluation("eval_loss") is { IsEmpty: false } evaluation)
            Line(plot, evaluation, Accent, 2, "evaluation", markers: true);
        plot.Axes.SetLimitsY(0, loss.Values.Max() * 1.05);
        plot.ShowLegend(Alignment.UpperRight);
        return plot;
    }

    /// <summary>One quantity over the steps.</summary>
    public static Plot Quantity(Curve curve, string title, string unit)
    {
        var plot = New(title, unit);
        Line(plot, curve, Dark, 1.5f, null);
        if (curve.Values.Min() >= 0)
            plot.Axes.SetLimitsY(0, Math.Max(curve.Values.Max() * 1.05, double.Epsilon));
        return plot;
    }

    /// <summary>The singular values of all layers of one role by index: light where they started, dark where they stand.</summary>
    public static Plot Spectrum(string role, IReadOnlyList<SingularValues> targets)
    {
        var plot = New($"{role}, {targets.Count} layers", "singular value", "index");
        foreach (var target in targets)
        {
            var index = Enumerable.Range(1, target.Start.Length).Select(i => (double)i).ToArray();
            Line(plot, new Curve(index, [.. target.Start.Select(s => (double)s)]), Light, 3, target == targets[0] ? "as built" : null);
            Line(plot, new Curve(index, [.. target.End.Select(s => (double)s)]), Dark, 1, target == targets[0] ? "trained" : null);
        }
        plot.Axes.SetLimitsY(0, targets.Max(t => Math.Max(t.Start.Max(), t.End.Max())) * 1.05);
        plot.ShowLegend(Alignment.UpperRight);
        return plot;
    }

    /// <summary>Evaluation loss of each method at its best learning rate; a thin line for each seed, a thick one for their mean.</summary>
    public static Plot Methods(IReadOnlyList<ComparedSetting> settings, bool byTokens)
    {
        var plot = New("Evaluation loss", "nats per label token", byTokens ? "tokens trained on" : "optimizer step");
        var palette = new ScottPlot.Palettes.Category10();
        foreach (var (index, setting) in settings.Index())
        {
            var color = palette.GetColor(index);
            var curves = setting.Runs.Select(r => byTokens ? r.EvalLossByTokens() : r.EvalLossBySteps()).Where(c => !c.IsEmpty).ToList();
            if (curves.Count == 0)
                continue;
            if (curves.Count > 1)
                curves.ForEach(c => Line(plot, c, color.WithAlpha(0.35), 1, null));
            var length = curves.Min(c => c.Steps.Length);
            double Mean(Func<Curve, double[]> of, int i) => curves.Average(c => of(c)[i]);
            var mean = new Curve([.. Enumerable.Range(0, length).Select(i => Mean(c => c.Steps, i))], [.. Enumerable.Range(0, length).Select(i => Mean(c => c.Values, i))]);
            Line(plot, mean, color, 2.5f, FormattableString.Invariant($"{setting.Method}, learning rate {setting.LearningRate:g3}"), markers: length == 1);
        }
        plot.ShowLegend(Alignment.UpperRight);
        return plot;
    }

    private static Plot New(string title, string unit, string below = "optimizer step")
    {
        var plot = new Plot();
        plot.Title(title);
        plot.YLabel(unit);
        plot.XLabel(below);
        plot.Axes.Left.Label.Bold = plot.Axes.Bottom.Label.Bold = false;
        return plot;
    }

    private static void Line(Plot plot, Curve curve, Color color, float width, string? legend, bool markers = false)
    {
        var thin = curve.Thinned(MostPoints);
        var line = plot.Add.Scatter(thin.Steps, thin.Values, color);
        line.LineWidth = width;
        line.MarkerSize = markers ? 6 : 0;
        if (legend is not null)
            line.LegendText = legend;
    }
}
