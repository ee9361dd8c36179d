using System.Diagnostics;
using System.Globalization;
using System.Security.Cryptography;
using System.Text.Json;
using SorsaOrt.Artifacts;
using SorsaOrt.Engines;
using SorsaOrt.TestSupport;
using SorsaOrt.Trainer;
using Xunit;

namespace SorsaOrt.EndToEnd.Tests;

/// <summary>The official training runtime (onnxruntime-web 1.19.2 under Node) trains our artifacts to the same losses as the plain engine.</summary>
public sealed class OfficialRuntimeTests
{
    private const int Steps = 20;
    private const int Rows = 4;
    private const int Batches = 2;
    private const double LearningRate = 1e-3; // The runtime's own; its WebAssembly build cannot be told another.

    private static string Runner => Path.Combine(Paths.Repository, "tests", "OrtTraining");

    /// <summary>As `--engine ort-training` drives it: the optimizer graph is made for the run's own numbers, a step is LazyResetGrad, K train steps, one optimizer step.</summary>
    /// <param name="model">Which model.</param>
    /// <param name="method">Which method.</param>
    /// <param name="gamma">γ, added after clipping; 0: no orthonormality term.</param>
    /// <param name="decay">Decoupled weight decay.</param>
    /// <param name="accumulation">Micro-batches K of a step.</param>
    /// <param name="norm">Largest gradient norm; the gradients here are larger than 0.05 at every step.</param>
    [Theory]
    [InlineData("nano-llama", "sorsa", 0, 0, 1, 1)]
    [InlineData("nano-llama", "sorsa", 0.004, 0, 1, 1)]
    [InlineData("nano-llama", "sorsa", 0.004, 0.1, 2, 0.05)]
    [InlineData("nano-llama", "sorsa", 0, 0, 2, 0)]
    [InlineData("nano-llama", "pissa", 0, 0, 1, 1)]
    [InlineData("nano-llama", "lora", 0, 0.1, 1, 1)]
    [InlineData("nano-llama", "full", 0, 0, 1, 1)]
    [InlineData("tiny-math", "sorsa", 0, 0, 1, 1)]
    public void BothRuntimes_GiveTheSameLosses(string model, string method, double gamma, double decay, int accumulation, double norm)
    {
        SkipWithoutRuntime();
        using var scratch = new ScratchFolder();
        var path = model == "tiny-math" ? Paths.TinyMath("model.onnx") : Goldens.Model;
        Sorsa.Run("build-artifacts", "--model", path, "--out", scratch["artifacts"], "--rank", "8", "--method", method, "--format", "both").Expect(0);
        WriteRows(scratch["rows.jsonl"]);
        Sorsa.Run([.. TrainOptions(scratch, accumulation), "--gamma", Text(gamma), "--weight-decay", Text(decay), "--max-grad-norm", Text(norm)]).Expect(0);
        CopyForRuntime(scratch["artifacts"], scratch["official"], new AdamWOptions { WeightDecay = decay, MaxGradNorm = norm, RegularizerStrength = gamma / (LearningRate * accumulation) });
        WriteFeeds(scratch["feeds.json"], accumulation);

        var expected = Goldens.Steps(scratch["run"]);
        var actual = Train(scratch["official"], scratch["feeds.json"], Steps, accumulation);

        Assert.Equal(Steps, expected.Count);
        Compare(expected, actual, accumulation);
        Assert.True(expected[^1].GetProperty("loss").GetDouble() < 0.95 * expected[0].GetProperty("loss").GetDouble(), "training did not lower the loss: the comparison would show little");
        if (norm is > 0 and < 1)
            Assert.All(expected, step => Assert.True(step.GetProperty("grad_norm").GetDouble() > norm, "nothing was clipped: the comparison would show little"));
    }

    /// <summary>A run's checkpoint, converted, is what the official runtime goes on from: parameters, both moments and the count of steps.</summary>
    [Fact]
    public void ConvertedCheckpoint_GoesOnInTheOfficialRuntimeAsOurOwn_AndComesBackByteForByte()
    {
        SkipWithoutRuntime();
        const int before = 10;
        using var scratch = new ScratchFolder();
        Sorsa.Run("build-artifacts", "--model", Goldens.Model, "--out", scratch["artifacts"], "--rank", "8", "--format", "both").Expect(0);
        WriteRows(scratch["rows.jsonl"]);
        Sorsa.Run([.. TrainOptions(scratch, accumulation: 1), "--gamma", "0.004", "--save-every", $"{before}"]).Expect(0);
        var ours = Path.Combine(scratch["run"], "checkpoints", $"step-{before}");
        CopyForRuntime(scratch["artifacts"], scratch["official"], new AdamWOptions { RegularizerStrength = 0.004 / LearningRate });
        var official = Path.Combine(scratch["official"], "checkpoint");
        var refused = Sorsa.Run("convert-checkpoint", "--artifacts", scratch["artifacts"], "--checkpoint", ours, "--out", official);
        Assert.Equal((2, true), (refused.ExitCode, refused.Error.Contains("--force", StringComparison.Ordinal)));
        Sorsa.Run("convert-checkpoint", "--artifacts", scratch["artifacts"], "--checkpoint", ours, "--out", official, "--force").Expect(0);
        WriteFeeds(scratch["feeds.json"], accumulation: 1);

        var actual = Train(scratch["official"], scratch["feeds.json"], Steps - before, accumulation: 1);

        Compare([.. Goldens.Steps(scratch["run"]).Skip(before)], actual, accumulation: 1);
        Sorsa.Run("convert-checkpoint", "--artifacts", scratch["artifacts"], "--checkpoint", official, "--out", scratch["back"]).Expect(0);
        var back = Path.Combine(scratch["back"], "checkpoints", $"step-{before}");
        Assert.Equal(3, Directory.GetFiles(ours).Length);
        Assert.All(Directory.GetFiles(ours), file => Assert.Equal(File.ReadAllBytes(file), File.ReadAllBytes(Path.Combine(back, Path.GetFileName(file)))));
        Sorsa.Run("merge", "--artifacts", scratch["artifacts"], "--checkpoint", scratch["back"], "--out", scratch["merged.onnx"], "--verify").Expect(0);
    }

    [Fact]
    public void EngineThatThisBuildDoesNotHold_IsRefusedInWords_WithNothingWritten()
    {
        using var scratch = new ScratchFolder();
        Sorsa.Run("build-artifacts", "--model", Goldens.Model, "--out", scratch["artifacts"], "--rank", "4", "--format", "ort-training").Expect(0);
        WriteRows(scratch["rows.jsonl"]);

        var refused = Sorsa.Run([.. TrainOptions(scratch, accumulation: 1), "--engine", "ort-training"]);

        Assert.Equal(2, refused.ExitCode);
        Assert.Contains("Microsoft.ML.OnnxRuntime.Training 1.19.2", refused.Error, StringComparison.Ordinal);
        Assert.Contains("OrtFlavor=training", refused.Error, StringComparison.Ordinal);
        Assert.DoesNotContain("   at ", refused.Error, StringComparison.Ordinal);
        Assert.False(Directory.Exists(scratch["run"]));
    }

    /// <summary>To an engine that is absent: refused, and the run is as it was. From it: goes on with the plain engine, to the same bytes. Through the official file and back: also.</summary>
    [Fact]
    public void Run_IsResumedWithTheOtherEngine_OrLeftAsItWas()
    {
        using var scratch = new ScratchFolder();
        Sorsa.Run("build-artifacts", "--model", Goldens.Model, "--out", scratch["artifacts"], "--rank", "4", "--format", "both").Expect(0);
        WriteRows(scratch["rows.jsonl"]);
        Sorsa.Run([.. TrainOptions(scratch, accumulation: 1), "--gamma", "0.004", "--save-every", $"{Steps / 2}", "--no-pack-weights"]).Expect(0);
        var (half, whole) = (Path.Combine(scratch["run"], "checkpoints", $"step-{Steps / 2}"), Path.Combine(scratch["run"], "checkpoints", $"step-{Steps}"));
        var end = Files(whole);
        Directory.Delete(whole, recursive: true);

        RefuseOfficialEngine("--engine", "ort-training");
        Sorsa.Run("convert-checkpoint", "--artifacts", scratch["artifacts"], "--checkpoint", half, "--out", scratch["official"]).Expect(0);
        Directory.Delete(half, recursive: true);
        Sorsa.Run("convert-checkpoint", "--artifacts", scratch["artifacts"], "--checkpoint", scratch["official"], "--out", scratch["run"]).Expect(0);
        Sorsa.Run("train", "--resume", scratch["run"]).Expect(0);
        Assert.Equal(end, Files(whole));

        // The same run, had it been begun with the other engine.
        Directory.Delete(whole, recursive: true);
        var record = RunRecord.Read(scratch["run"]);
        record = record with { Settings = record.Settings with { Engine = RunSettings.OrtTraining } };
        record.Write(scratch["run"]);
        var state = Path.Combine(half, CheckpointFiles.State);
        File.WriteAllBytes(state, SealedJson.Serialize(Checkpoint.ReadState(state) with { Options = record.ToOptions() }));
        RefuseOfficialEngine();
        var resumed = Sorsa.Run("train", "--resume", scratch["run"], "--engine", "ort").Expect(0);
        Assert.Contains("begun with --engine ort-training and goes on with ort", resumed.Error, StringComparison.Ordinal);
        Assert.Equal(Enumerable.Range(1, Steps), Goldens.Steps(scratch["run"]).Select(l => l.GetProperty("step").GetInt32()));
        foreach (var name in (string[])[CheckpointFiles.Parameters, CheckpointFiles.Optimizer])
            Assert.Equal(end[name], Files(whole)[name]);

        void RefuseOfficialEngine(params string[] more)
        {
            var before = Files(scratch["run"]);
            var refused = Sorsa.Run(["train", "--resume", scratch["run"], .. more]).Expect(2);
            Assert.Contains("--engine ort-training", refused.Error, StringComparison.Ordinal);
            Assert.Contains("Microsoft.ML.OnnxRuntime.Training 1.19.2", refused.Error, StringComparison.Ordinal);
            Assert.Equal(before, Files(scratch["run"]));
        }
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

    // Every file below a folder, as text that can be compared.
    private static Dictionary<string, string> Files(string folder) => Directory.EnumerateFiles(folder, "*", SearchOption.AllDirectories)
        .ToDictionary(f => Path.GetRelativePath(folder, f), f => Convert.ToHexString(SHA256.HashData(File.ReadAllBytes(f))));

    private static string[] TrainOptions(ScratchFolder scratch, int accumulation) =>
    [
        "train", "--artifacts", scratch["artifacts"], "--data", scratch["rows.jsonl"], "--out", scratch["run"], "--no-shuffle", "--no-sort", "--max-length", "48",
        "--batch-size", $"{Rows}", "--accumulation", $"{accumulation}", "--max-steps", $"{Steps}", "--lr", Text(LearningRate), "--schedule", "constant", "--warmup", "0",
        "--device", "cpu", "--threads", "1",
    ];

    private static string Text(double value) => value.ToString(CultureInfo.InvariantCulture);

    /// <summary>The artifacts with the optimizer graph that the engine makes for a run.</summary>
    private static void CopyForRuntime(string artifacts, string folder, AdamWOptions adamW)
    {
        Directory.CreateDirectory(folder);
        foreach (var name in (string[])[ArtifactFiles.TrainingModel, ArtifactFiles.EvalModel, ArtifactFiles.OrtCheckpoint])
            File.Copy(Path.Combine(artifacts, name), Path.Combine(folder, name));
        File.WriteAllBytes(Path.Combine(folder, ArtifactFiles.OptimizerModel), RunEngine.OptimizerModel(ArtifactSet.Open(artifacts, Verification.Full), adamW));
    }

    private static void Compare(IReadOnlyList<JsonElement> expected, IReadOnlyList<(double LossSum, double SquaredNorm)> actual, int accumulation)
    {
        Assert.Equal(expected.Count * accumulation, actual.Count);
        for (var i = 0; i < expected.Count; i++)
        {
            var micro = actual.Skip(i * accumulation).Take(accumulation).ToArray();
            Assert.Equal(expected[i].GetProperty("loss").GetDouble(), micro.Sum(m => m.LossSum) / expected[i].GetProperty("label_tokens").GetDouble(), 1e-4);
            var norm = expected[i].GetProperty("grad_norm").GetDouble();
            Assert.Equal(norm, Math.Sqrt(micro[^1].SquaredNorm), 1e-3 * norm);
        }
    }

    private static (double LossSum, double SquaredNorm)[] Train(string artifacts, string feeds, int steps, int accumulation) =>
        [.. Node("run.mjs", artifacts, feeds, "--steps", $"{steps}", "--accumulate", $"{accumulation}").Split('\n', StringSplitOptions.RemoveEmptyEntries)
            .Select(line => JsonDocument.Parse(line).RootElement).Where(e => e.TryGetProperty("step", out _))
            .Select(e => (e.GetProperty("loss").GetDouble(), e.GetProperty("outputs").GetProperty("gradient_sum_of_squares").GetDouble()))];

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

    private static void WriteFeeds(string path, int accumulation)
    {
        var labels = GoldenRows().Chunk(Rows).Select(rows => rows.Sum(r => r.Labels.Skip(1).Count(l => l >= 0))).ToArray();
        var batches = GoldenRows().Chunk(Rows).Select((rows, batch) =>
        {
            var length = rows[0].Ids.Length;
            long[] ids = [.. rows.SelectMany(r => r.Ids)];
            var places = Enumerable.Range(0, rows.Length).SelectMany(b => Enumerable.Range(0, length - 1).Select(t => (b, t))).Where(p => rows[p.b].Labels[p.t + 1] >= 0).ToArray();
            long[] size = [rows.Length, length], count = [places.Length];
            return new Dictionary<string, object>
            {
                ["input_ids"] = new { type = "int64", dims = size, data = ids },
                ["attention_mask"] = new { type = "int64", dims = size, data = ids.Select(_ => 1L) },
                ["position_ids"] = new { type = "int64", dims = size, data = ids.Select((_, i) => (long)(i % length)) },
                ["label_positions"] = new { type = "int64", dims = count, data = places.Select(p => (long)(p.b * length + p.t)) },
                ["label_ids"] = new { type = "int64", dims = count, data = places.Select(p => rows[p.b].Labels[p.t + 1]) },
                ["loss_scale"] = new { type = "float32", dims = Array.Empty<long>(), data = new[] { 1.0 / (accumulation == 1 ? labels[batch] : labels.Sum()) } },
            };
        });
        File.WriteAllText(path, JsonSerializer.Serialize(new { batches }));
    }

    private static (long[] Ids, long[] Labels)[] GoldenRows()
    {
        using var data = JsonDocument.Parse(File.ReadAllBytes(Goldens.Find("data.json")!));
        var split = data.RootElement.GetProperty("train");
        long[][] Read(string name) => [.. split.GetProperty(name).EnumerateArray().Take(Rows * Batches).Select(r => r.EnumerateArray().Select(v => v.GetInt64()).ToArray())];
        return [.. Read("input_ids").Zip(Read("labels"))];
    }
}
