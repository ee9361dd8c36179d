using System.Globalization;
using System.Text.Json;
using SorsaOrt.Artifacts;
using SorsaOrt.Engines.Tests;
using Xunit;

namespace SorsaOrt.Trainer.Tests;

/// <summary>The scale of the loss where float16 gradients flow, by itself and through runs of a model whose gradients pass float16.</summary>
public sealed class LossScalingTests : IDisposable
{
    private const long Huge = LossScaling.Most;

    private readonly TemporaryFolder _folder = new();

    public LossScalingTests()
    {
        TinyArtifacts.WriteFloat16(_folder["artifacts"]);
        var random = new Random(3);
        File.WriteAllLines(_folder["train.jsonl"], Enumerable.Range(0, 11).Select(_ =>
        {
            var ids = string.Join(", ", Enumerable.Range(0, random.Next(4, 9)).Select(_ => random.Next(TinyArtifacts.Vocabulary)));
            return $$"""{"input_ids": [{{ids}}], "labels": [{{ids}}]}""";
        }));
    }

    public void Dispose() => _folder.Dispose();

    [Fact]
    public void Overflow_HalvesTheScale_AndBeginsToCountAnew()
    {
        var scaling = new LossScaling(8, 1999, 2);
        Assert.True(scaling.TryHalve());
        Assert.Equal((4, 0, 3), (scaling.Scale, scaling.GoodSteps, scaling.Overflows));
        for (var step = 0; step < 1999; step++)
            scaling.StepMade();
        Assert.Equal((4, 1999), (scaling.Scale, scaling.GoodSteps));
        scaling.StepMade();
        Assert.Equal((8, 0, 3), (scaling.Scale, scaling.GoodSteps, scaling.Overflows));
    }

    [Fact]
    public void Scale_StaysWithinItsEnds()
    {
        var least = new LossScaling(1, 7);
        Assert.False(least.TryHalve());
        Assert.Equal((1, 7, 0), (least.Scale, least.GoodSteps, least.Overflows));
        var most = new LossScaling(LossScaling.Most, 1999);
        most.StepMade();
        Assert.Equal((LossScaling.Most, 0), (most.Scale, most.GoodSteps));
    }

    /// <summary>Scales are powers of two, so that a run which begins far too high comes to the very bytes of one that does not; no row is passed over, no step lost.</summary>
    [Fact]
    public void HugeScale_Recovers_AndTheStepsAreThoseOfARunWithoutOverflow()
    {
        var usual = Train("usual", 6, null);
        var huge = Train("huge", 6, Huge);

        Assert.Equal((LossScaling.Initial, 0), (usual.LossScale, usual.Overflows));
        Assert.InRange(huge.Overflows!.Value, 10, 30);
        Assert.Equal(Huge >> (int)huge.Overflows, huge.LossScale);
        Assert.Equal(6, huge.Step);
        foreach (var file in (string[])["parameters.safetensors", "optimizer.safetensors"])
            Assert.Equal(File.ReadAllBytes(CheckpointFile("usual", 6, file)), File.ReadAllBytes(CheckpointFile("huge", 6, file)));
        Assert.Equal(Metrics("usual", "loss_scale", "overflows"), Metrics("huge", "loss_scale", "overflows"));
        Assert.All(Lines("huge"), l => Assert.Equal(Huge >> l.GetProperty("overflows").GetInt32(), l.GetProperty("loss_scale").GetInt64()));
        Assert.Equal(huge.Overflows, Lines("huge")[^1].GetProperty("overflows").GetInt64());
    }

    /// <summary>Stopped after a step, killed after another: every byte of the last checkpoint, scale and counts in state.json included.</summary>
    [Theory]
    [InlineData(1)]
    [InlineData(4)]
    public void InterruptedAndResumed_GivesTheBytesOfARunNeverInterrupted(int stopAfter)
    {
        Train("whole", 6, Huge);
        using (var stop = new CancellationTokenSource())
        using (var run = TrainingRun.Start(Settings(6, Huge), _folder["stopped"]))
        {
            run.Execute(p =>
            {
                if (p.Step == stopAfter)
                    stop.Cancel();
            }, stop.Token);
        }
        using (var resumed = TrainingRun.Resume(_folder["stopped"]))
            Assert.Equal(6, resumed.Execute(null, TestContext.Current.CancellationToken).Step);

        foreach (var file in Directory.GetFiles(Path.GetDirectoryName(CheckpointFile("whole", 6, "state.json"))!).Select(Path.GetFileName))
            Assert.Equal(File.ReadAllBytes(CheckpointFile("whole", 6, file!)), File.ReadAllBytes(CheckpointFile("stopped", 6, file!)));
        Assert.Equal(Metrics("whole"), Metrics("stopped"));
        var counters = Checkpoint.ReadState(CheckpointFile("whole", 6, "state.json")).Counters;
        Assert.Equal(Lines("whole").Count(l => l.GetProperty("overflows").GetInt64() == counters["overflows"]), counters["steps_since_loss_scale_changed"]);
        Assert.Equal(Huge >> (int)counters["overflows"], counters["loss_scale"]);
        Assert.InRange(counters["overflows"], 10, 30);
    }

    [Fact]
    public void GradientsThatOverflowAtAnyScale_EndTheRun()
    {
        // Finite logits whose gradients' squares are beyond float32.
        TinyArtifacts.WriteFloat16(_folder["steep"], [.. TinyArtifacts.InitialParameters.Select(p => p * 1e11f)]);
        var error = Assert.Throws<TrainingDivergedException>(() => Train("run", 6, null, "steep"));
        Assert.Contains("The gradient norm is ", error.Message, StringComparison.Ordinal);
        Assert.Contains("in step 1", error.Message, StringComparison.Ordinal);
        Assert.Empty(new CheckpointStore(_folder["run"]).List());
    }

    [Fact]
    public void Float32Artifacts_TakeNoScale_AndSaveNone()
    {
        TinyArtifacts.Write(_folder["wide"]);
        Assert.Contains("--loss-scale", Assert.Throws<ConfigException>(() => Train("refused", 2, 8, "wide")).Message, StringComparison.Ordinal);
        Assert.False(Directory.Exists(_folder["refused"]));
        var outcome = Train("run", 2, null, "wide");
        Assert.Equal((null, null), (outcome.LossScale, outcome.Overflows));
        Assert.DoesNotContain("loss_scale", Checkpoint.ReadState(CheckpointFile("run", 2, "state.json")).Counters.Keys);
        Assert.All(Lines("run"), l => Assert.False(l.TryGetProperty("loss_scale", out _)));
    }

    [Theory]
    [InlineData(3)]
    [InlineData(0)]
    [InlineData(-8)]
    [InlineData(LossScaling.Most * 2)]
    public void ScaleThatIsNoPowerOfTwoInRange_IsRefused(long scale) =>
        Assert.Contains("--loss-scale", Assert.Throws<ConfigException>(() => new TrainingOptions { LossScale = scale }.Validated()).Message, StringComparison.Ordinal);

    private TrainingOutcome Train(string name, long steps, long? scale, string artifacts = "artifacts")
    {
        using var run = TrainingRun.Start(Settings(steps, scale) with { Artifacts = _folder[artifacts] }, _folder[name]);
        return run.Execute(null, TestContext.Current.CancellationToken);
    }

    private RunSettings Settings(long steps, long? scale) => new()
    {
        Artifacts = _folder["artifacts"],
        Data = _folder["train.jsonl"],
        Device = "cpu",
        Threads = 1,
        Training = new TrainingOptions { MaxSteps = steps, BatchSize = 2, Accumulation = 2, LearningRate = 5e-3, Gamma = 1e-3, Warmup = 0.1, Seed = 7, Keep = 0, LossScale = scale },
    };

    private string CheckpointFile(string run, long step, string file) =>
        Path.Combine(_folder[run], "checkpoints", "step-" + step.ToString(CultureInfo.InvariantCulture), file);

    private List<JsonElement> Lines(string run) => [.. MetricsLog.Read(Path.Combine(_folder[run], "metrics.jsonl"))];

    // Every line but what depends on time, and some fields.
    private string[] Metrics(string run, params string[] without) =>
        [.. Lines(run).Select(l => string.Join(' ', l.EnumerateObject().Where(p => p.Name is not ("seconds" or "tokens_per_second") && !without.Contains(p.Name))))];
}
