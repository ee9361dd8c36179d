using System.Globalization;
using System.Net;
using System.Text;
using System.Text.Json;
using ScottPlot;

namespace SorsaOrt.Report;

/// <summary>The picture and the page of a run: loss.png and report.html, from its metrics.jsonl.</summary>
public static class RunReport
{
    /// <summary>Name of the picture.</summary>
    public const string Picture = "loss.png";

    /// <summary>Name of the page; the picture is inside it, so that it opens anywhere.</summary>
    public const string Page = "report.html";

    private const int Width = 1000;
    private const int Height = 560;

    /// <summary>Draws both into the run's folder.</summary>
    /// <exception cref="InvalidDataException">There are no steps to draw.</exception>
    public static void Write(string runFolder)
    {
        var metrics = Path.Combine(runFolder, "metrics.jsonl");
        var (training, evaluation) = Read(metrics);
        if (training.Count == 0)
            throw new InvalidDataException($"'{metrics}' holds no training step yet; there is nothing to draw.");
        var picture = Draw(training, evaluation);
        Place(Path.Combine(runFolder, Picture), picture);
        Place(Path.Combine(runFolder, Page), Encoding.UTF8.GetBytes(Html(runFolder, training, evaluation, picture)));
    }

    private static (List<JsonElement> Training, List<JsonElement> Evaluation) Read(string path)
    {
        var (training, evaluation) = (new List<JsonElement>(), new List<JsonElement>());
        foreach (var line in File.ReadLines(path).Where(l => l.Length > 0))
        {
            using var document = JsonDocument.Parse(line);
            var entry = document.RootElement.Clone();
            (entry.TryGetProperty("eval_loss", out _) ? evaluation : training).Add(entry);
        }
        return (training, evaluation);
    }

    private static byte[] Draw(List<JsonElement> training, List<JsonElement> evaluation)
    {
        using var plot = new Plot();
        var steps = training.Select(e => Number(e, "step")).ToArray();
        var losses = training.Select(e => Number(e, "loss")).ToArray();
        var raw = plot.Add.Scatter(steps, losses);
        raw.LegendText = "training loss";
        raw.MarkerSize = 0;
        raw.LineWidth = 1;
        raw.Color = Color.FromHex("#9ec5e8");
        var smooth = plot.Add.Scatter(steps, Smooth(losses));
        smooth.LegendText = "smoothed";
        smooth.MarkerSize = 0;
        smooth.LineWidth = 2.5f;
        smooth.Color = Color.FromHex("#1f5fa6");
        if (evaluation.Count > 0)
        {
            var eval = plot.Add.Scatter(evaluation.Select(e => Number(e, "step")).ToArray(), evaluation.Select(e => Number(e, "eval_loss")).ToArray());
            eval.LegendText = "evaluation loss";
            eval.Color = Color.FromHex("#c8501e");
            eval.LineWidth = 2;
        }
        plot.Axes.SetLimitsY(0, losses.Max() * 1.05);
        plot.XLabel("optimizer step");
        plot.YLabel("loss (nats per label token)");
        plot.Title("Training loss");
        plot.ShowLegend(Alignment.UpperRight);
        return plot.GetImageBytes(Width, Height, ImageFormat.Png);
    }

    // Exponential mean whose memory is about a twentieth of the run.
    private static double[] Smooth(double[] values)
    {
        var keep = 1 - 1 / Math.Max(1, values.Length / 20.0);
        double mean = 0, weight = 0;
        return [.. values.Select(v =>
        {
            mean = keep * mean + (1 - keep) * v;
            weight = keep * weight + (1 - keep);
            return mean / weight;
        })];
    }

    private static string Html(string runFolder, List<JsonElement> training, List<JsonElement> evaluation, byte[] picture)
    {
        var html = new StringBuilder("<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>SORSA run</title>")
            .Append("<style>body{font:15px/1.5 system-ui,sans-serif;max-width:1020px;margin:2em auto;padding:0 1em}table{border-collapse:collapse}")
            .Append("td,th{padding:.25em .9em;border-bottom:1px solid #ddd;text-align:right}td:first-child,th:first-child{text-align:left}img{max-width:100%}</style>")
            .Append("<h1>").Append(WebUtility.HtmlEncode(Path.GetFileName(Path.GetFullPath(runFolder)))).Append("</h1>")
            .Append("<img alt=\"loss by step\" src=\"data:image/png;base64,").Append(Convert.ToBase64String(picture)).Append("\"><h2>Steps</h2><table>")
            .Append("<tr><th>step<th>loss<th>learning rate<th>gradient norm<th>orthonormality<th>tokens/s</tr>");
        foreach (var entry in training.Where((_, i) => i % Math.Max(1, training.Count / 20) == 0 || i == training.Count - 1))
            html.Append(Row(entry, ["step", "loss", "lr", "grad_norm", "ortho_loss", "tokens_per_second"]));
        html.Append("</table>");
        if (evaluation.Count > 0)
        {
            html.Append("<h2>Evaluation</h2><table><tr><th>step<th>loss<th>perplexity</tr>");
            foreach (var entry in evaluation)
                html.Append(Row(entry, ["step", "eval_loss", "eval_perplexity"]));
            html.Append("</table>");
        }
        return html.Append("</html>\n").ToString();
    }

    private static string Row(JsonElement entry, ReadOnlySpan<string> keys)
    {
        var row = new StringBuilder("<tr>");
        foreach (var key in keys)
            row.Append("<td>").Append(Number(entry, key).ToString("g5", CultureInfo.InvariantCulture));
        return row.Append("</tr>").ToString();
    }

    private static double Number(JsonElement entry, string key) =>
        entry.TryGetProperty(key, out var value) && value.ValueKind == JsonValueKind.Number ? value.GetDouble() : double.NaN;

    private static void Place(string path, byte[] bytes)
    {
        var temporary = path + ".tmp";
        File.WriteAllBytes(temporary, bytes);
        File.Move(temporary, path, overwrite: true);
    }
}
