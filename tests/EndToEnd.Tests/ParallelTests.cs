using System.Diagnostics;
using System.Text.Json;
using SorsaOrt.TestSupport;
using Xunit;

namespace SorsaOrt.EndToEnd.Tests;

/// <summary>One run in several processes under mpirun: the same losses as in one, and an end in words whatever happens to a rank.</summary>
public sealed class ParallelTests : IDisposable
{
    private readonly ScratchFolder _scratch = new();

    public ParallelTests()
    {
        if (!Environment.GetEnvironmentVariable("PATH")!.Split(':').Any(folder => File.Exists(Path.Combine(folder, "mpirun"))))
            Assert.Skip("mpirun is absent: apt-get install openmpi-bin");
        Sorsa.Run("build-artifacts", "--model", Paths.TinyMath("model.onnx"), "--out", _scratch["artifacts"], "--rank", "4", "--dropout", "0.1").Expect(0);
    }

    public void Dispose() => _scratch.Dispose();

    [Fact]
    public void AnyNumberOfRanks_GivesTheSameLosses()
    {
        Ranks(1, Train("one", steps: 8)).Expect(0);
        foreach (var count in (int[])[2, 4])
        {
            var run = $"ranks-{count}";
            Ranks(count, Train(run, steps: 8)).Expect(0);
            AssertSameLosses("one", run);
            Assert.Equal(Files("one"), Files(run));
        }
    }

    /// <summary>Float16 gradients of a row with few labels overflow at scales that those of one with many do not: in the end one rank alone sees it, the first or the last.</summary>
    [Theory]
    [InlineData("few", "many")]
    [InlineData("many", "few")]
    public void OverflowOnOneRank_RepeatsTheStepOnAll(string first, string second)
    {
        const long Scale = 1L << 40;
        Sorsa.Run("build-artifacts", "--model", Goldens.Model, "--out", _scratch["fp16"], "--rank", "4", "--compute-dtype", "fp16", "--residual-dtype", "fp16").Expect(0);
        WriteRow("few", labels: 2);
        WriteRow("many", labels: 39);
        File.WriteAllLines(_scratch["both.jsonl"], [.. File.ReadLines(_scratch[first + ".jsonl"]), .. File.ReadLines(_scratch[second + ".jsonl"])]);
        string[] Train(string rows, string run, int accumulation) =>
        [
            "train", "--artifacts", _scratch["fp16"], "--out", _scratch[run], "--data", _scratch[rows + ".jsonl"], "--no-shuffle", "--max-steps", "3", "--batch-size", "1",
            "--accumulation", $"{accumulation}", "--loss-average", "batches", "--max-length", "48", "--lr", "1e-3", "--warmup", "0", "--threads", "1", "--loss-scale", $"{Scale}",
        ];
        long Overflows(string run) => Goldens.Steps(_scratch[run])[0].GetProperty("overflows").GetInt64();
        foreach (var row in (string[])["few", "many"])
            Sorsa.Run(Train(row, row + "-alone", 1)).Expect(0);
        Assert.True(Overflows("few-alone") > Overflows("many-alone"), $"{Overflows("few-alone")} and {Overflows("many-alone")} overflows: on no rank alone");

        Ranks(1, Train("both", "one", 2)).Expect(0);
        Ranks(2, Train("both", "two", 2)).Expect(0);
        AssertSameLosses("one", "two");
        // A mean over two micro-batches has half the gradients of each.
        Assert.Equal(Overflows("few-alone") - 1, Overflows("two"));
        Assert.All(Goldens.Steps(_scratch["one"]).Zip(Goldens.Steps(_scratch["two"])), lines => Assert.Equal(State(lines.First), State(lines.Second)));

        static (long, long) State(JsonElement line) => (line.GetProperty("loss_scale").GetInt64(), line.GetProperty("overflows").GetInt64());
    }

    /// <summary>Killed at its third checkpoint, the way a machine goes down; then it goes on with another number of ranks.</summary>
    [Theory]
    [InlineData(2, 1)]
    [InlineData(1, 4)]
    public void KilledRank_EndsTheRun_AndAnyNumberOfRanksGoesOnFromTheLastCheckpoint(int before, int after)
    {
        var outcome = KillRank(before - 1, before, "killed", afterStep: 3);
        Assert.NotEqual(0, outcome.ExitCode);
        Assert.Contains($"rank {before - 1}", outcome.Error, StringComparison.Ordinal);
        Ranks(after, "train", "--resume", _scratch["killed"]).Expect(0);
        Ranks(1, Train("one", steps: 8)).Expect(0);
        AssertSameLosses("one", "killed");
    }

    [Fact]
    public async Task AskedToStop_SavesACheckpoint_WithExitCode130()
    {
        using var process = Start(2, Train("stopped", steps: 100_000));
        var error = process.StandardError.ReadToEndAsync(TestContext.Current.CancellationToken);
        _ = process.StandardOutput.ReadToEndAsync(TestContext.Current.CancellationToken);
        while (!Directory.Exists(Path.Combine(_scratch["stopped"], "checkpoints", "step-2")) && !process.WaitForExit(5))
        {
        }
        using (var kill = Process.Start("kill", ["-USR1", $"{process.Id}"]))
            await kill.WaitForExitAsync(TestContext.Current.CancellationToken);
        await process.WaitForExitAsync(TestContext.Current.CancellationToken);
        Assert.True(process.ExitCode == 130, $"exit code {process.ExitCode}\n{await error}");
        var last = Goldens.Steps(_scratch["stopped"])[^1].GetProperty("step").GetInt64();
        Assert.True(Directory.Exists(Path.Combine(_scratch["stopped"], "checkpoints", $"step-{last}")));
    }

    [Fact]
    public void BadRow_IsToldOnce_WithExitCode2()
    {
        File.WriteAllText(_scratch["bad.jsonl"], """{"nothing":1}""" + "\n");
        var refused = Ranks(2, [.. Train("refused", steps: 8).Select(word => word == Paths.TinyMath("train.jsonl") ? _scratch["bad.jsonl"] : word)]).Expect(2);
        Assert.Equal(2, refused.Error.Split("sorsa: ").Length);
        Assert.Contains("line 1", refused.Error, StringComparison.Ordinal);
        Assert.False(Directory.Exists(_scratch["refused"]));
    }

    [Fact]
    public void AccumulationThatCannotBeDivided_IsRefused()
    {
        var refused = Ranks(2, Train("refused", steps: 8, accumulation: 3)).Expect(2);
        Assert.Contains("--accumulation 3 cannot be divided among 2 ranks", refused.Error, StringComparison.Ordinal);
        Assert.False(Directory.Exists(_scratch["refused"]));
    }

    [Fact]
    public void OtherVerbs_AreRefused()
    {
        var refused = Ranks(2, "merge", "--artifacts", _scratch["artifacts"], "--out", _scratch["merged.onnx"]).Expect(2);
        Assert.Contains("without mpirun", refused.Error, StringComparison.Ordinal);
        Assert.False(File.Exists(_scratch["merged.onnx"]));
    }

    private void WriteRow(string name, int labels)
    {
        int[] ids = [.. Enumerable.Range(0, 40).Select(i => 1 + i * 37 % 499)];
        File.WriteAllText(_scratch[name + ".jsonl"], JsonSerializer.Serialize(new { input_ids = ids, labels = ids.Select((id, i) => i < ids.Length - labels ? -100 : id) }) + "\n");
    }

    private string[] Train(string run, int steps, int accumulation = 4) =>
    [
        "train", "--artifacts", _scratch["artifacts"], "--out", _scratch[run], "--tokenizer", Paths.TinyMath("tokenizer.model"), "--data", Paths.TinyMath("train.jsonl"),
        "--eval-data", Paths.TinyMath("test.jsonl"), "--max-steps", $"{steps}", "--batch-size", "2", "--accumulation", $"{accumulation}", "--max-length", "128",
        "--lr", "1e-3", "--save-every", "1", "--keep", "0", "--threads", "1", "--seed", "7",
    ];

    /// <summary>Starts a run of eight steps and kills one of its ranks when a step has been saved.</summary>
    private CommandOutcome KillRank(int rank, int ranks, string run, int afterStep)
    {
        using var process = Start(ranks, Train(run, steps: 8));
        var error = process.StandardError.ReadToEndAsync(TestContext.Current.CancellationToken);
        var output = process.StandardOutput.ReadToEndAsync(TestContext.Current.CancellationToken);
        while (!Directory.Exists(Path.Combine(_scratch[run], "checkpoints", $"step-{afterStep}")) && !process.WaitForExit(5))
        {
        }
        using (var killed = ProcessOf(rank, run))
            killed.Kill();
        process.WaitForExit();
        return new CommandOutcome(process.ExitCode, output.GetAwaiter().GetResult(), error.GetAwaiter().GetResult());
    }

    // mpirun tells each process its rank through the environment.
    private Process ProcessOf(int rank, string run) => Process.GetProcesses().First(process =>
    {
        try
        {
            return File.ReadAllText($"/proc/{process.Id}/environ").Split('\0').Contains($"OMPI_COMM_WORLD_RANK={rank}")
                && File.ReadAllText($"/proc/{process.Id}/cmdline").Split('\0').Contains(_scratch[run]);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return false;
        }
    });

    private void AssertSameLosses(string expectedRun, string actualRun)
    {
        JsonElement[] expected = [.. Lines(expectedRun)], actual = [.. Lines(actualRun)];
        Assert.Equal(expected.Length, actual.Length);
        foreach (var (e, a) in expected.Zip(actual))
        {
            foreach (var name in (string[])["loss", "eval_loss", "ortho_loss"])
            {
                if (e.TryGetProperty(name, out var value))
                    Assert.Equal(value.GetDouble(), a.GetProperty(name).GetDouble(), 1e-6 * Math.Max(1, value.GetDouble()));
            }
            foreach (var name in (string[])["step", "tokens", "label_tokens"])
            {
                if (e.TryGetProperty(name, out var count))
                    Assert.Equal(count.GetInt64(), a.GetProperty(name).GetInt64());
            }
        }
    }

    private IEnumerable<JsonElement> Lines(string run) =>
        File.ReadLines(Path.Combine(_scratch[run], "metrics.jsonl")).Select(line => JsonDocument.Parse(line).RootElement);

    private string[] Files(string run) => [.. Directory.EnumerateFiles(_scratch[run], "*", SearchOption.AllDirectories).Select(f => Path.GetRelativePath(_scratch[run], f)).Order()];

    private static CommandOutcome Ranks(int count, params string[] arguments)
    {
        using var process = Start(count, arguments);
        var error = process.StandardError.ReadToEndAsync();
        var output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        return new CommandOutcome(process.ExitCode, output, error.GetAwaiter().GetResult());
    }

    private static Process Start(int count, params string[] arguments) =>
        Process.Start(new ProcessStartInfo("mpirun", ["--allow-run-as-root", "--oversubscribe", "--bind-to", "none", "-n", $"{count}", Path.Combine(Paths.Repository, "sorsa"), .. arguments])
        {
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        })!;
}
