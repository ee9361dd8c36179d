using System.Globalization;
using System.Net;
using System.Text;
using System.Text.Json;
using ScottPlot;
using SorsaOrt.Artifacts;

namespace SorsaOrt.Report;

/// <summary>Methods side by side: comparison.json, comparison.png and comparison.html.</summary>
public static class MethodComparison
{
    /// <summary>Name of the table as data.</summary>
    public const string Table = "comparison.json";

    /// <summary>Name of the picture.</summary>
    public const string Picture = "comparison.png";

    /// <summary>Name of the page.</summary>
    public const string Page = "comparison.html";

    /// <summary>Writes all three into <paramref name="folder"/>, replacing earlier ones.</summary>
    /// <param name="folder">Where.</param>
    /// <param name="title">What was compared, in words.</param>
    /// <param name="runs">The runs; their metrics are read from their folders.</param>
    public static void Write(string folder, string title, IReadOnlyList<ComparedRun> runs)
    {
        var settings = ComparedSetting.Group(runs);
        var best = ComparedSetting.Best(settings);
        AtomicFile.Write(Path.Combine(folder, Table), JsonSerializer.SerializeToUtf8Bytes(runs, Json), force: true);
        using (var plot = Charts.Methods(best, byTokens: false))
            AtomicFile.Write(Path.Combine(folder, Picture), plot.GetImageBytes(1000, 560, ImageFormat.Png), force: true);
        AtomicFile.Write(Path.Combine(folder, Page), Encoding.UTF8.GetBytes(Html(title, settings, best)), force: true);
    }

    /// <summary>A line per setting, as a table in Markdown.</summary>
    public static IEnumerable<string> Markdown(IReadOnlyList<ComparedRun> runs)
    {
        var settings = ComparedSetting.Group(runs);
        var best = ComparedSetting.Best(settings);
        yield return "| method | learning rate | trainable | evaluation loss | right answers | s | peak MB |";
        yield return "|---|---|---|---|---|---|---|";
        foreach (var s in settings)
            yield return "| " + string.Join(" | ", Cells(s, best.Contains(s))) + " |";
    }

    private static IEnumerable<string> Cells(ComparedSetting setting, bool isBest)
    {
        string Invariant(FormattableString text) => FormattableString.Invariant(text);
        string Range(Spread s, string format, double unit = 1) => setting.Runs.Count == 1 ? (s.Mean * unit).ToString(format, CultureInfo.InvariantCulture)
            : Invariant($"{(s.Mean * unit).ToString(format, CultureInfo.InvariantCulture)} ({(s.Lowest * unit).ToString(format, CultureInfo.InvariantCulture)}–{(s.Highest * unit).ToString(format, CultureInfo.InvariantCulture)})");
        yield return setting.Method;
        yield return Invariant($"{setting.LearningRate:g3}{(isBest ? " *" : "")}");
        yield return Invariant($"{setting.Runs[0].Trainable:N0}");
        yield return Range(setting.EvalLoss, "0.0000");
        yield return setting.Accuracy is { } accuracy ? Range(accuracy, "0.0", 100) + " %" : "";
        yield return Invariant($"{setting.Runs.Average(r => r.Seconds):0.0}");
        yield return Invariant($"{setting.Runs.Max(r => r.PeakMemoryBytes) / 1e6:0}");
    }

    private static string Html(string title, IReadOnlyList<ComparedSetting> settings, IReadOnlyList<ComparedSetting> best)
    {
        var html = new StringBuilder("<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\n<title>Comparison of methods</title>\n<style>")
            .Append(RunPage.Style).Append("</style>\n<h1>Comparison of methods</h1>\n<p>").Append(WebUtility.HtmlEncode(title)).Append("</p>\n");
        foreach (var byTokens in (bool[])[false, true])
        {
            using var plot = Charts.Methods(best, byTokens);
            html.Append(plot.GetSvgHtml(1000, 480)).Append('\n');
        }
        html.Append("<table><tr><th>method<th>learning rate<th>trainable<th>evaluation loss<th>right answers<th>s<th>peak MB</tr>\n");
        foreach (var setting in settings)
            html.Append("<tr><td>").AppendJoin("<td>", Cells(setting, best.Contains(setting)).Select(WebUtility.HtmlEncode)).Append('\n');
        return html.Append("</table>\n<p>* the learning rate with the lowest mean evaluation loss of its method, which the charts show. ")
            .Append("In brackets the lowest and highest of the seeds.</p>\n</html>\n").ToString();
    }

    private static readonly JsonSerializerOptions Json = new() { PropertyNamingPolicy = JsonNamingPolicy.SnakeCaseLower, WriteIndented = true, NewLine = "\n" };
}
