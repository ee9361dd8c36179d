using System.Globalization;
using System.Text.Json;
using SorsaOrt.Artifacts;
using SorsaOrt.TestSupport;
using Xunit;

namespace SorsaOrt.EndToEnd.Tests;

/// <summary>The reference's trajectories on nano-llama and their tolerances (goldens/README.md).</summary>
internal static class Goldens
{
    public static string Model => Paths.Fixture("nano-llama", "optimum-no-past.onnx");

    /// <summary>A golden file: from the repository where it is small, else from ../shared; null where that is absent.</summary>
    public static string? Find(string name)
    {
        var own = Path.Combine(Paths.Fixture("nano-llama", "goldens"), name);
        return File.Exists(own) ? own : Paths.SharedOrNull is null ? null : Paths.Shared("goldens", "nano-llama", name);
    }

    /// <summary>Writes the training rows as {input_ids, labels} lines.</summary>
    public static void WriteRows(string path)
    {
        using var data = JsonDocument.Parse(File.ReadAllBytes(Find("data.json")!));
        var split = data.RootElement.GetProperty("train");
        var (ids, labels) = (split.GetProperty("input_ids"), split.GetProperty("labels"));
        File.WriteAllLines(path, Enumerable.Range(0, ids.GetArrayLength())
            .Select(i => $$"""{"input_ids": {{ids[i].GetRawText()}}, "labels": {{labels[i].GetRawText()}}}"""));
    }

    /// <summary>Options of `sorsa train` for a golden run.</summary>
    public static string[] TrainOptions(JsonElement run)
    {
        string Text(string name) => run.GetProperty(name).GetRawText();
        return
        [
            "--no-shuffle", "--max-length", "48", "--loss-average", "batches", "--device", "cpu", "--keep", "100",
            "--batch-size", Text("micro_batch"), "--accumulation", Text("accumulation"), "--max-steps", Text("steps"), "--lr", Text("lr"),
            "--gamma", Text("gamma"), "--weight-decay", Text("weight_decay"), "--betas", Text("betas").Trim('[', ']').Replace(" ", "", StringComparison.Ordinal),
            "--eps", Text("eps"), "--max-grad-norm", Text("max_grad_norm"), "--schedule", run.GetProperty("schedule").GetString()!,
            "--warmup", Text("warmup_steps"),
        ];
    }

    /// <summary>The lines of metrics.jsonl that belong to training steps.</summary>
    public static IReadOnlyList<JsonElement> Steps(string run) =>
        [.. File.ReadLines(Path.Combine(run, "metrics.jsonl")).Select(l => JsonDocument.Parse(l).RootElement).Where(e => e.TryGetProperty("loss", out _))];

    /// <summary>‖actual − expected‖ / ‖expected − start‖ over all tensors with one of the suffixes.</summary>
    public static double OfMovement(SafetensorsReader actual, SafetensorsReader expected, SafetensorsReader start, params string[] parts)
    {
        double difference = 0, movement = 0;
        foreach (var name in expected.Tensors.Select(t => t.Name).Where(n => parts.Any(p => n.EndsWith("." + p, StringComparison.Ordinal))))
        {
            var (a, e, s) = (actual.ReadFloats(name), expected.ReadFloats(name), start.ReadFloats(name));
            Assert.Equal(e.Length, a.Length);
            for (var i = 0; i < e.Length; i++)
            {
                difference += Math.Pow((double)a[i] - e[i], 2);
                movement += Math.Pow((double)e[i] - s[i], 2);
            }
        }
        Assert.True(movement > 0, $"nothing named {string.Join(", ", parts)} moves in the golden");
        return Math.Sqrt(difference / movement);
    }

    /// <summary>Relative to <paramref name="scale"/>: |a − b| ≤ tolerance · scale.</summary>
    public static void Near(double expected, double actual, double tolerance, double scale, string what) =>
        Assert.True(Math.Abs(expected - actual) <= tolerance * scale,
            string.Create(CultureInfo.InvariantCulture, $"{what}: {actual:R}, expected {expected:R} within {tolerance * scale:R}"));
}
