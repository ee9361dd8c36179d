using System.Globalization;
using System.Text.Json;
using SorsaOrt.Artifacts;
using SorsaOrt.Engines.Tests;
using Xunit;

namespace SorsaOrt.Trainer.Tests;

public sealed class TrainingRunTests : IDisposable
{
    private const int RowCount = 11;

    private readonly TemporaryFolder _folder = new();

    public TrainingRunTests()
    {
        TinyArtifacts.Write(_folder["artifacts"]);
        File.WriteAllLines(_folder["train.jsonl"], Rows(RowCount, 1));
        File.WriteAllLines(_folder["eval.jsonl"], Rows(5, 2));
    }

    public void Dispose() => _folder.Dispose();

    private static IEnumerable<string> Rows(int count, int seed)
    {
        var random = new Random(seed);
        for (var i = 0; i < count; i++)
        {
            var length = random.Next(3, 9);
            var ids = Enumerable.Range(0, length).Select(_ => random.Next(TinyArtifacts.Vocabulary)).ToArray();
            var labels = ids.Select((id, t) => t < 1 + i % 2 ? -100 : id);
            yield return $$"""{"input_ids": [{{string.Join(", ", ids)}}], "labels": [{{string.Join(", ", labels)}}]}""";
        }
    }

    private RunSettings Settings(Func<TrainingOptions, TrainingOptions>? change = null) => new()
    {
        Artifacts = _folder["artifacts"],
        Data = _folder["train.jsonl"],
        Device = "cpu",
        Threads = 1,
        Training = (change ?? (o => o))(new TrainingOptions
        {
            MaxSteps = 12,
            BatchSize = 2,
            Accumulation = 2,
            LearningRate = 5e-3,
            Gamma = 1e-3,
            WeightDecay = 0.01,
            Warmup = 0.1,
            Seed = 7,
            SaveEvery = 5,
            Keep = 0,
        }),
    };

    private TrainingOutcome Train(RunSettings settings, string name) => TrainUntil(settings, name, _ => { }, TestContext.Current.CancellationToken);

    private TrainingOutcome TrainUntil(RunSettings settings, string name, Action<TrainingProgress> progress, CancellationToken stop)
    {
        using var run = TrainingRun.Start(settings, _folder[name]);
        return run.Execute(progress, stop);
    }

    private TrainingOutcome Resume(string name)
    {
        using var run = TrainingRun.Resume(_folder[name]);
        return run.Execute(null, TestContext.Current.CancellationToken);
    }

    private List<JsonElement> Metrics(string run) => [.. MetricsLog.Read(Path.Combine(_folder[run], "metrics.jsonl"))];

    private static double Number(JsonElement line, string key) => line.GetProperty(key).GetDouble();

    /// <summary>Every file of a checkpoint and every metrics line but its times.</summary>
    private string[] Result(string run, long step)
    {
        var folder = Path.Combine(_folder[run], "checkpoints", "step-" + step.ToString(CultureInfo.InvariantCulture));
        return
        [
            .. Directory.GetFiles(folder).Order(StringComparer.Ordinal).Select(f => Path.GetFileName(f) + " " + Convert.ToHexString(File.ReadAllBytes(f))),
            .. Metrics(run).Select(l => string.Join(' ', l.EnumerateObject().Where(p => p.Name is not ("seconds" or "tokens_per_second")))),
        ];
    }

    [Fact]
    public void Run_WritesALinePerStepWithTheFieldsOfTheContract()
    {
        var outcome = Train(Settings(o => o with { LearningRate = 0.05 }) with { EvalData = _folder["eval.jsonl"] }, "run");

        Assert.Equal((TrainingEnd.Completed, 12, 12), (outcome.End, outcome.Step, outcome.TotalSteps));
        var lines = Metrics("run");
        var steps = lines.Where(l => l.TryGetProperty("loss", out _)).ToArray();
        Assert.Equal(Enumerable.Range(1, 12), steps.Select(l => l.GetProperty("step").GetInt32()));
        Assert.Equal(["step", "epoch", "loss", "lr", "grad_norm", "ortho_loss", "tokens", "label_tokens", "tokens_per_second", "seconds"],
            steps[0].EnumerateObject().Select(p => p.Name));
        var evaluation = Assert.Single(lines, l => l.TryGetProperty("eval_loss", out _));
        Assert.Equal(["step", "eval_loss", "eval_perplexity"], evaluation.EnumerateObject().Select(p => p.Name));
        Assert.Equal(12, evaluation.GetProperty("step").GetInt32());
        Assert.Equal(Math.Exp(Number(evaluation, "eval_loss")), Number(evaluation, "eval_perplexity"), 1e-9);
        Assert.Equal(["step-10", "step-12", "step-5"], Directory.GetDirectories(Path.Combine(_folder["run"], "checkpoints")).Select(Path.GetFileName).Order(StringComparer.Ordinal));
        // 11 rows make 6 micro-batches an epoch, 24 micro-batches make 4 epochs.
        Assert.Equal(4, Number(steps[^1], "epoch"), 1e-12);
        Assert.Equal(0, Number(steps[0], "lr"));
        Assert.True(steps[^3..].Average(l => Number(l, "loss")) < steps[..3].Average(l => Number(l, "loss")));
    }

    [Theory]
    [InlineData(LossAverage.Tokens)]
    [InlineData(LossAverage.Batches)]
    public void FirstStep_HasTheLossNormAndOrthoOfItsMicroBatches(LossAverage average)
    {
        Train(Settings(o => o with { MaxSteps = 1, Shuffle = false, LossAverage = average }), "run");

        var (loss, norm) = ReferenceOfFirstStep(average);
        var line = Assert.Single(Metrics("run"));
        Assert.Equal(loss, Number(line, "loss"), 1e-5);
        Assert.Equal(norm, Number(line, "grad_norm"), 1e-5);
        Assert.Equal(Deviation(), Number(line, "ortho_loss"), 1e-5);
    }

    private (double Loss, double Norm) ReferenceOfFirstStep(LossAverage average)
    {
        var micro = File.ReadLines(_folder["train.jsonl"]).Take(4).Select(line => JsonDocument.Parse(line).RootElement).Chunk(2).Select(rows =>
        {
            double loss = 0;
            long count = 0;
            var gradient = new double[TinyArtifacts.ParameterCount];
            foreach (var row in rows)
            {
                var ids = row.GetProperty("input_ids").EnumerateArray().Select(e => e.GetInt64()).ToArray();
                var labels = row.GetProperty("labels").EnumerateArray().Select(e => e.GetInt64()).ToArray();
                var positions = Enumerable.Range(0, ids.Length - 1).Where(t => labels[t + 1] >= 0).Select(t => (long)t).ToArray();
                var (sum, g) = TinyArtifacts.Reference(TinyArtifacts.InitialParameters, ids, positions, [.. positions.Select(t => labels[t + 1])]);
                loss += sum;
                count += positions.Length;
                gradient = [.. gradient.Zip(g, (a, b) => a + b)];
            }
            return (Loss: loss, Count: count, Gradient: gradient);
        }).ToArray();
        var total = micro.Sum(m => m.Count);
        double Weight(long count) => average == LossAverage.Tokens ? 1.0 / total : 1.0 / (micro.Length * count);
        var all = new double[TinyArtifacts.ParameterCount];
        foreach (var m in micro)
            all = [.. all.Zip(m.Gradient, (a, b) => a + Weight(m.Count) * b)];
        return (micro.Sum(m => m.Loss * Weight(m.Count)), Math.Sqrt(all.Sum(g => g * g)));
    }

    /// <summary>(‖A·Aᵀ − I‖ + ‖Bᵀ·B − I‖)/2 at the start, in double.</summary>
    private static double Deviation()
    {
        var p = TinyArtifacts.InitialParameters;
        double A(int k, int i) => p[k * TinyArtifacts.Width + i];
        double B(int k, int o) => p[TinyArtifacts.Rank * TinyArtifacts.Width + o * TinyArtifacts.Rank + k];
        double Norm(Func<int, int, double> m)
        {
            var sum = 0.0;
            for (var k = 0; k < TinyArtifacts.Rank; k++)
            {
                for (var l = 0; l < TinyArtifacts.Rank; l++)
                    sum += Math.Pow(Enumerable.Range(0, TinyArtifacts.Width).Sum(i => m(k, i) * m(l, i)) - (k == l ? 1 : 0), 2);
            }
            return Math.Sqrt(sum);
        }
        return (Norm(A) + Norm(B)) / 2;
    }

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(5)]
    [InlineData(8)]
    [InlineData(11)]
    public void Interrupted_AndResumed_GivesTheBytesOfARunNeverInterrupted(int stopAfter)
    {
        var settings = Settings(o => o with { EvalEvery = 4 }) with { EvalData = _folder["eval.jsonl"] };
        Train(settings, "whole");
        using var stop = new CancellationTokenSource();
        if (stopAfter == 0)
            stop.Cancel();

        var interrupted = TrainUntil(settings, "cut", p =>
        {
            if (p.Step == stopAfter)
                stop.Cancel();
        }, stop.Token);

        Assert.Equal((TrainingEnd.Interrupted, stopAfter), (interrupted.End, interrupted.Step));
        Assert.True(Directory.Exists(interrupted.Checkpoint));
        Assert.Equal(TrainingEnd.Completed, Resume("cut").End);
        Assert.Equal(Result("whole", 12), Result("cut", 12));
    }

    [Fact]
    public void Resumed_KeepsWhetherWeightsArePacked()
    {
        using (var run = TrainingRun.Start(Settings() with { PackWeights = true }, _folder["packed"]))
            run.Execute(p => { }, new CancellationToken(canceled: true));

        using var resumed = TrainingRun.Resume(_folder["packed"]);
        Assert.True(resumed.Record.Settings.PackWeights);
    }

    [Fact]
    public void Killed_BeforeTheFirstCheckpoint_StartsAnew()
    {
        Train(Settings(), "whole");
        using (TrainingRun.Start(Settings(), _folder["killed"]))
        {
            // Nothing but run.json, and metrics of a step that no checkpoint holds.
            File.WriteAllText(Path.Combine(_folder["killed"], "metrics.jsonl"), "{\"step\":1,\"loss\":9}\n{\"step\":2,\"lo");
        }

        Resume("killed");

        Assert.Equal(Result("whole", 12), Result("killed", 12));
    }

    [Fact]
    public void Killed_AfterACheckpoint_RepeatsTheStepsSince()
    {
        Train(Settings(), "run");
        var whole = Result("run", 12);
        // As if killed in step 9: later checkpoints are not there, later metrics lines are, the last one torn.
        Directory.Delete(Path.Combine(_folder["run"], "checkpoints", "step-10"), true);
        Directory.Delete(Path.Combine(_folder["run"], "checkpoints", "step-12"), true);
        var metrics = Path.Combine(_folder["run"], "metrics.jsonl");
        File.WriteAllText(metrics, string.Concat(File.ReadLines(metrics).Take(8).Select(l => l + "\n")) + "{\"step\": 9, \"epo");

        Resume("run");

        Assert.Equal(whole, Result("run", 12));
    }

    [Fact]
    public void Resume_PassesOverADamagedCheckpoint_AndSaysSo()
    {
        Train(Settings(), "run");
        var whole = Result("run", 12);
        var file = Path.Combine(_folder["run"], "checkpoints", "step-12", "optimizer.safetensors");
        var bytes = File.ReadAllBytes(file);
        bytes[^3] ^= 4;
        File.WriteAllBytes(file, bytes);

        using (var run = TrainingRun.Resume(_folder["run"]))
        {
            Assert.Equal(10, run.Step);
            Assert.Contains(run.Notes, n => n.Contains("optimizer.safetensors", StringComparison.Ordinal));
            run.Execute(null, TestContext.Current.CancellationToken);
        }

        Assert.Equal(whole, Result("run", 12));
    }

    [Fact]
    public void Resume_OfAFinishedRun_ChangesNothing()
    {
        Train(Settings(), "run");
        var before = Result("run", 12);

        var outcome = Resume("run");

        Assert.Equal((TrainingEnd.Completed, 12, null), (outcome.End, outcome.Step, outcome.Loss));
        Assert.Equal(before, Result("run", 12));
    }

    [Fact]
    public void Resume_RefusesDataThatChanged()
    {
        Train(Settings(), "run");
        File.AppendAllText(_folder["train.jsonl"], """{"input_ids": [1, 2], "labels": [1, 2]}""" + "\n");

        var error = Assert.Throws<ArtifactMismatchException>(() => Resume("run"));

        Assert.Contains("--data", error.Message, StringComparison.Ordinal);
        Assert.Contains("has changed", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Resume_RefusesOtherArtifacts()
    {
        Train(Settings(), "run");
        Directory.Delete(_folder["artifacts"], true);
        TinyArtifacts.Write(_folder["artifacts"], TrainingMethod.Lora);

        Assert.Throws<ArtifactMismatchException>(() => Resume("run"));
    }

    [Fact]
    public void Resume_OfSomethingElse_IsRefused() =>
        Assert.Contains("run.json", Assert.Throws<ArtifactMismatchException>(() => Resume("nothing")).Message, StringComparison.Ordinal);

    [Fact]
    public void ExistingRun_IsReplacedOnlyWithForce_AndForeignFoldersNever()
    {
        Train(Settings(o => o with { MaxSteps = 1 }), "run");
        Assert.Contains("--force", Assert.Throws<OutputExistsException>(() => Train(Settings(), "run")).Message, StringComparison.Ordinal);

        using (var run = TrainingRun.Start(Settings(o => o with { MaxSteps = 2 }), _folder["run"], force: true))
            run.Execute(null, TestContext.Current.CancellationToken);

        Assert.Equal([1, 2], Metrics("run").Select(l => l.GetProperty("step").GetInt32()));
        Assert.Throws<OutputExistsException>(() => TrainingRun.Start(Settings(), _folder["artifacts"], force: true));
        Assert.True(File.Exists(Path.Combine(_folder["artifacts"], ArtifactFiles.Manifest)));
    }

    [Fact]
    public void BadInput_LeavesNoRunBehind()
    {
        File.AppendAllText(_folder["train.jsonl"], """{"input_ids": [1, 999], "labels": [1, 2]}""" + "\n");

        Assert.ThrowsAny<Exception>(() => Train(Settings(), "run"));
        Assert.Contains("OrtFlavor=gpu", Assert.Throws<ConfigException>(() => Train(Settings() with { Device = "cuda" }, "run")).Message, StringComparison.Ordinal);
        Assert.Throws<ConfigException>(() => Train(Settings() with { Engine = "ort-training", SkipBadRows = true }, "run"));
        Assert.Throws<ConfigException>(() => Train(Settings(o => o with { EarlyStop = 1 }), "run"));

        Assert.False(Directory.Exists(_folder["run"]));
    }

    [Fact]
    public void EarlyStop_EndsTheRunWhenTheEvaluationGetsNoBetter_AndStaysEnded()
    {
        // The rate is so small that no evaluation changes: the first is the best, two more end the run.
        var settings = Settings(o => o with { LearningRate = 1e-30, Gamma = 0, EvalEvery = 2, EarlyStop = 2 }) with { EvalData = _folder["eval.jsonl"] };

        var outcome = Train(settings, "run");

        Assert.Equal((TrainingEnd.EarlyStopped, 6), (outcome.End, outcome.Step));
        Assert.Equal(outcome.EvalLoss, Metrics("run").Where(l => l.TryGetProperty("eval_loss", out _)).Select(l => (double?)Number(l, "eval_loss")).Last());
        Assert.Equal((TrainingEnd.EarlyStopped, 6), (Resume("run").End, outcome.Step));
    }

    [Fact]
    public void Keep_LeavesTheNewestCheckpoints()
    {
        Train(Settings(o => o with { SaveEvery = 2, Keep = 2 }), "run");

        Assert.Equal(["step-10", "step-12"], Directory.GetDirectories(Path.Combine(_folder["run"], "checkpoints")).Select(Path.GetFileName).Order(StringComparer.Ordinal));
    }

    [Fact]
    public void Keep_HoldsForARunKilledAfterItsLastCheckpoint()
    {
        Train(Settings(o => o with { SaveEvery = 2, Keep = 2 }), "run");
        // As if killed when step 12 was in its place and step 8 had not been removed.
        var checkpoints = Path.Combine(_folder["run"], "checkpoints");
        Directory.CreateDirectory(Path.Combine(checkpoints, "step-8"));
        foreach (var file in Directory.GetFiles(Path.Combine(checkpoints, "step-10")))
            File.Copy(file, Path.Combine(checkpoints, "step-8", Path.GetFileName(file)));

        Resume("run");

        Assert.Equal(["step-10", "step-12"], Directory.GetDirectories(checkpoints).Select(Path.GetFileName).Order(StringComparer.Ordinal));
    }

    [Fact]
    public void Divergence_NamesStepRowsAndLastGoodCheckpoint_AndSavesNothingBad()
    {
        var error = Assert.Throws<TrainingDivergedException>(() => Train(Settings(o => o with { LearningRate = 3e38, Warmup = 6, SaveEvery = 1, Shuffle = false }), "run"));

        // The second step moves every parameter by 5e37, the third sees what that makes of the loss.
        Assert.Contains("in step 3, on the rows at lines 9, 10 of", error.Message, StringComparison.Ordinal);
        Assert.Contains("step-2'", error.Message, StringComparison.Ordinal);
        Assert.Equal([1, 2], new CheckpointStore(_folder["run"]).List().Select(c => c.Step));
    }

    [Fact]
    public void NonFiniteLoss_NamesTheRows()
    {
        var huge = TinyArtifacts.InitialParameters.Select((x, i) => i == 0 ? float.MaxValue : x * 1e30f).ToArray();
        TinyArtifacts.Write(_folder["huge"], TinyArtifacts.Parameters(), huge);

        var error = Assert.Throws<TrainingDivergedException>(() => Train(Settings(o => o with { Shuffle = false }) with { Artifacts = _folder["huge"] }, "run"));

        Assert.Contains("in step 1, on the rows at lines 1, 2 of", error.Message, StringComparison.Ordinal);
        Assert.Contains("No checkpoint had been saved yet", error.Message, StringComparison.Ordinal);
        Assert.Empty(new CheckpointStore(_folder["run"]).List());
    }

    [Fact]
    public void Run_GivesTheSameBytesEveryTime()
    {
        Train(Settings(), "one");
        Train(Settings(), "two");

        Assert.Equal(Result("one", 12), Result("two", 12));
    }

    [Fact]
    public void Seed_ChangesTheOrder()
    {
        Train(Settings(), "one");
        Train(Settings(o => o with { Seed = 8 }), "two");

        Assert.NotEqual(Metrics("one").Select(l => Number(l, "loss")), Metrics("two").Select(l => Number(l, "loss")));
    }
}
