using System.Diagnostics;
using System.Text.Json;
using SorsaOrt.TestSupport;
using Xunit;

namespace SorsaOrt.EndToEnd.Tests;

/// <summary>The official training runtime (onnxruntime-web 1.19.2 under Node) trains our artifacts to the same losses as the plain engine.</summary>
public sealed class OfficialRuntimeTests
{
    private const int Steps = 20;
    private const int Rows = 4;
    private const int Batches = 2;

    private static string Runner => Path.Combine(Paths.Repository, "tests", "OrtTraining");

    /// <summary>γ is what the official optimizer graph and the plain engine add after clipping; 0: no orthonormality term.</summary>
    [Theory]
    [InlineData("nano-llama", "sorsa", "0")]
    [InlineData("nano-llama", "sorsa", "0.004")]
    [InlineData("nano-llama", "pissa", "0")]
    [InlineData("nano-llama", "lora", "0")]
    [InlineData("nano-llama", "full", "0")]
    [InlineData("tiny-math", "sorsa", "0")]
    public void BothRuntimes_GiveTheSameLosses(string model, string method, string gamma)
    {
        SkipWithoutRuntime();
        using var scratch = new ScratchFolder();
        var path = model == "tiny-math" ? Paths.TinyMath("model.onnx") : Goldens.Model;
        Sorsa.Run("build-artifacts", "--model", path, "--out", scratch["artifacts"], "--rank", "8", "--method", method, "--format", "both", "--gamma", gamma).Expect(0);
        WriteRows(scratch["rows.jsonl"]);
        Sorsa.Run("train", "--artifacts", scratch["artifacts"], "--data", scratch["rows.jsonl"], "--out", scratch["run"], "--no-shuffle",
            "--max-length", "48", "--batch-size", $"{Rows}", "--accumulation", "1", "--max-steps", $"{Steps}", "--lr", "0.001",
            "--schedule", "constant", "--warmup", "0", "--gamma", gamma, "--device", "cpu", "--threads", "1").Expect(0);
        var labels = WriteFeeds(scratch["feeds.json"]);
        var expected = Goldens.Steps(scratch["run"]).Select(s => s.GetProperty("loss").GetDouble()).ToArray();
        var actual = Train(scratch["artifacts"], scratch["feeds.json"]);
        Assert.Equal(Steps, expected.Length);
        Assert.Equal(Steps, actual.Length);
        for (var i = 0; i < Steps; i++)
            Assert.Equal(expected[i], actual[i] / labels[i % Batches], 1e-4);
        Assert.True(expected[^1] < 0.8 * expected[0], "training did not lower the loss: the comparison would show little");
    }

    [Fact]
    public void Checkpoint_IsWellFormedToTheIndependentReader()
    {
        SkipWithoutRuntime();
        using var scratch = new ScratchFolder();
        Sorsa.Run("build-artifacts", "--model", Goldens.Model, "--out", scratch["artifacts"], "--rank", "4", "--format", "ort-training").Expect(0);
        var summary = JsonDocument.Parse(Node("checkpoint.mjs", Path.Combine(scratch["artifacts"], "checkpoint"))).RootElement;
        Assert.Equal(35 * 3, summary.GetProperty("trainable").GetArrayLength());
        if (summary.TryGetProperty("notes", out var notes))
            Assert.Equal(0, notes.GetArrayLength());
    }

    [Fact]
    public void ArtifactsForTheOfficialRuntimeAlone_AreRefusedByThePlainEngine_WithWhatToDo()
    {
        using var scratch = new ScratchFolder();
        Sorsa.Run("build-artifacts", "--model", Goldens.Model, "--out", scratch["artifacts"], "--rank", "4", "--format", "ort-training").Expect(0);
        WriteRows(scratch["rows.jsonl"]);
        var refused = Sorsa.Run("train", "--artifacts", scratch["artifacts"], "--data", scratch["rows.jsonl"], "--out", scratch["run"], "--max-steps", "1");
        Assert.NotEqual(0, refused.ExitCode);
        Assert.Contains("--format both", refused.Error, StringComparison.Ordinal);
    }

    private static double[] Train(string artifacts, string feeds) =>
        [.. Node("run.mjs", artifacts, feeds, "--steps", $"{Steps}").Split('\n', StringSplitOptions.RemoveEmptyEntries)
            .Select(line => JsonDocument.Parse(line).RootElement).Where(e => e.TryGetProperty("step", out _)).Select(e => e.GetProperty("loss").GetDouble())];

    private static string Node(string script, params string[] arguments)
    {
        using var process = Process.Start(new ProcessStartInfo("node", [Path.Combine(Runner, script), .. arguments])
        {
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        })!;
        var error = process.StandardError.ReadToEndAsync();
        var output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        Assert.True(process.ExitCode == 0, $"{script}: exit code {process.ExitCode}\n{output}\n{error.GetAwaiter().GetResult()}");
        return output;
    }

    private static void SkipWithoutRuntime()
    {
        if (!Directory.Exists(Path.Combine(Runner, "node_modules", "onnxruntime-web")))
            Assert.Skip("the official runtime is absent: run `npm ci --ignore-scripts` in tests/OrtTraining (Node 18 or later)");
    }

    // Token ids below 512 suit both models; labels only where the row counts them.
    private static void WriteRows(string path) =>
        File.WriteAllLines(path, GoldenRows().Select(r => JsonSerializer.Serialize(new Dictionary<string, long[]> { ["input_ids"] = r.Ids, ["labels"] = r.Labels })));

    private static int[] WriteFeeds(string path)
    {
        var counts = new List<int>();
        var batches = GoldenRows().Chunk(Rows).Select(rows =>
        {
            var length = rows[0].Ids.Length;
            long[] ids = [.. rows.SelectMany(r => r.Ids)];
            var places = Enumerable.Range(0, rows.Length).SelectMany(b => Enumerable.Range(0, length - 1).Select(t => (b, t))).Where(p => rows[p.b].Labels[p.t + 1] >= 0).ToArray();
            counts.Add(places.Length);
            long[] size = [rows.Length, length], count = [places.Length];
            return new Dictionary<string, object>
            {
                ["input_ids"] = new { type = "int64", dims = size, data = ids },
                ["attention_mask"] = new { type = "int64", dims = size, data = ids.Select(_ => 1L) },
                ["position_ids"] = new { type = "int64", dims = size, data = ids.Select((_, i) => (long)(i % length)) },
                ["label_positions"] = new { type = "int64", dims = count, data = places.Select(p => (long)(p.b * length + p.t)) },
                ["label_ids"] = new { type = "int64", dims = count, data = places.Select(p => rows[p.b].Labels[p.t + 1]) },
                ["loss_scale"] = new { type = "float32", dims = Array.Empty<long>(), data = new[] { 1.0 / places.Length } },
            };
        });
        File.WriteAllText(path, JsonSerializer.Serialize(new { batches }));
        return [.. counts];
    }

    private static (long[] Ids, long[] Labels)[] GoldenRows()
    {
        using var data = JsonDocument.Parse(File.ReadAllBytes(Goldens.Find("data.json")!));
        var split = data.RootElement.GetProperty("train");
        long[][] Read(string name) => [.. split.GetProperty(name).EnumerateArray().Take(Rows * Batches).Select(r => r.EnumerateArray().Select(v => v.GetInt64()).ToArray())];
        return [.. Read("input_ids").Zip(Read("labels"))];
    }
}
