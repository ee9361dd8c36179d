using System.Globalization;
using System.Net;
using System.Text;
using System.Text.Json;
using ScottPlot;
using SorsaOrt.Trainer;

namespace SorsaOrt.Report;

/// <summary>report.html: one file, its charts inside it as SVG.</summary>
/// <param name="name">Name of the run.</param>
/// <param name="record">What the run was asked to do.</param>
/// <param name="curves">Its metrics.</param>
/// <param name="spectra">Singular values by target; empty where the method has none.</param>
/// <param name="missing">Why <paramref name="spectra"/> could not be read; null where they could.</param>
internal sealed class RunPage(string name, RunRecord record, RunCurves curves, IReadOnlyList<SingularValues> spectra, string? missing)
{
    private const int RowsShown = 20;

    /// <summary>How our pages look.</summary>
    public const string Style = """
        body{font:15px/1.5 system-ui,sans-serif;max-width:1040px;margin:2em auto;padding:0 1em;color:#222}
        h1{font-size:1.6em;margin-bottom:.2em}h2{font-size:1.2em;margin-top:2em}
        table{border-collapse:collapse}td,th{padding:.2em .9em;border-bottom:1px solid #ddd;text-align:right;font-variant-numeric:tabular-nums}
        td:first-child,th:first-child{text-align:left}.settings td{text-align:left}
        .charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(480px,1fr));gap:1em}svg{width:100%;height:auto}
        """;

    private readonly StringBuilder _html = new();

    /// <summary>The whole page.</summary>
    public string ToHtml()
    {
        _html.Append("<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\n<title>")
            .Append(Text(name)).Append("</title>\n<style>").Append(Style).Append("</style>\n<h1>").Append(Text(name)).Append("</h1>\n");
        Summary();
        using (var loss = Charts.Loss(curves))
            Chart(loss, 1000, 480);
        Quantities();
        Steps();
        Spectra();
        Settings();
        return _html.Append("</html>\n").ToString();
    }

    private void Summary()
    {
        var loss = curves.Training("loss");
        var seconds = curves.Training("seconds").Values.Sum();
        _html.Append(CultureInfo.InvariantCulture, $"<p>{curves.StepCount} of {record.TotalSteps} optimizer steps, {curves.Training("tokens").Values.Sum():N0} tokens, ")
            .Append(CultureInfo.InvariantCulture, $"{TimeSpan.FromSeconds(Math.Round(seconds)):g}; training loss {loss.Values[0]:0.0000} → {loss.Values[^1]:0.0000}");
        if (curves.Evaluation("eval_loss") is { IsEmpty: false } evaluation)
            _html.Append(CultureInfo.InvariantCulture, $"; evaluation loss {evaluation.Values[0]:0.0000} → {evaluation.Values[^1]:0.0000}, lowest {evaluation.Values.Min():0.0000}");
        _html.Append(".</p>\n");
    }

    private void Quantities()
    {
        _html.Append("<div class=\"charts\">\n");
        foreach (var (field, title, unit) in ((string, string, string)[])[
            ("lr", "Learning rate", ""),
            ("grad_norm", "Gradient norm before clipping", ""),
            ("ortho_loss", "Orthonormality, mean of ‖A·Aᵀ − I‖ and ‖Bᵀ·B − I‖", ""),
            ("tokens_per_second", "Speed", "tokens/s"),
            ("loss_scale", "Scale of the loss", "")])
        {
            if (curves.Training(field) is not { IsEmpty: false } curve)
                continue;
            using var plot = Charts.Quantity(curve, title, unit);
            Chart(plot, 520, 320);
        }
        _html.Append("</div>\n");
    }

    private void Steps()
    {
        string[] fields = ["loss", "lr", "grad_norm", "ortho_loss", "tokens_per_second"];
        var loss = curves.Training(fields[0]);
        var columns = fields.Select(f => curves.Training(f)).Select(c => c.Steps.Zip(c.Values).ToDictionary(p => p.First, p => p.Second)).ToArray();
        _html.Append("<h2>Steps</h2>\n<table><tr><th>step<th>loss<th>learning rate<th>gradient norm<th>orthonormality<th>tokens/s</tr>\n");
        foreach (var step in loss.Steps.Where((_, i) => i % Math.Max(1, loss.Steps.Length / RowsShown) == 0 || i == loss.Steps.Length - 1))
            Row(step, columns.Select(c => c.GetValueOrDefault(step, double.NaN)));
        _html.Append("</table>\n");
        if (curves.Evaluation("eval_loss") is not { IsEmpty: false } evaluation)
            return;
        _html.Append("<h2>Evaluation</h2>\n<table><tr><th>step<th>loss<th>perplexity</tr>\n");
        for (var i = 0; i < evaluation.Steps.Length; i++)
            Row(evaluation.Steps[i], [evaluation.Values[i], Math.Exp(evaluation.Values[i])]);
        _html.Append("</table>\n");
    }

    private void Spectra()
    {
        if (missing is not null)
            _html.Append("<h2>Singular values</h2>\n<p>Not shown: ").Append(Text(missing)).Append("</p>\n");
        if (spectra.Count == 0)
            return;
        _html.Append("<h2>Singular values</h2>\n<p>The trained S of every target, as built and in the newest checkpoint.</p>\n<div class=\"charts\">\n");
        foreach (var role in spectra.GroupBy(s => s.Role))
        {
            using var plot = Charts.Spectrum(role.Key, [.. role]);
            Chart(plot, 520, 320);
        }
        _html.Append("</div>\n<details><summary>Every target</summary>\n<table><tr><th>target<th>largest, as built<th>trained<th>smallest, as built<th>trained<th>mean |Δ|</tr>\n");
        foreach (var target in spectra)
        {
            _html.Append("<tr><td>").Append(Text(target.Module));
            foreach (var value in (double[])[target.Start[0], target.End[0], target.Start[^1], target.End[^1], target.MeanMove])
                Cell(value);
            _html.Append('\n');
        }
        _html.Append("</table></details>\n");
    }

    private void Settings()
    {
        _html.Append("<h2>Settings</h2>\n<table class=\"settings\">");
        Settings("", JsonSerializer.SerializeToElement(record.Settings, Json));
        foreach (var input in record.Inputs)
            Setting($"{input.Role} sha256", input.Sha256);
        Setting("artifacts manifest sha256", record.ManifestHash);
        _html.Append("</table>\n");
        if (record.Environment is null)
            return;
        _html.Append("<h2>Environment</h2>\n<table class=\"settings\">");
        Settings("", JsonSerializer.SerializeToElement(record.Environment, Json));
        _html.Append("</table>\n");
    }

    private void Settings(string prefix, JsonElement settings)
    {
        foreach (var entry in settings.EnumerateObject())
        {
            if (entry.Value.ValueKind == JsonValueKind.Object)
                Settings(prefix + entry.Name + ".", entry.Value);
            else if (entry.Value.ValueKind != JsonValueKind.Null)
                Setting(prefix + entry.Name, entry.Value.ToString());
        }
    }

    private void Setting(string key, string value) =>
        _html.Append("<tr><td>").Append(Text(key.Replace('_', ' '))).Append("<td>").Append(Text(value)).Append('\n');

    private void Row(double step, IEnumerable<double> values)
    {
        _html.Append(CultureInfo.InvariantCulture, $"<tr><td>{step}");
        foreach (var value in values)
            Cell(value);
        _html.Append('\n');
    }

    private void Cell(double value) =>
        _html.Append("<td>").Append(double.IsFinite(value) ? value.ToString("g5", CultureInfo.InvariantCulture) : "");

    private void Chart(Plot plot, int width, int height) => _html.Append(plot.GetSvgHtml(width, height)).Append('\n');

    private static string Text(string value) => WebUtility.HtmlEncode(value);

    private static readonly JsonSerializerOptions Json = new()
    {
        PropertyNamingPolicy = JsonNamingPolicy.SnakeCaseLower,
        Converters = { new System.Text.Json.Serialization.JsonStringEnumConverter(JsonNamingPolicy.KebabCaseLower) },
    };
}
