using SorsaOrt.Artifacts;

namespace SorsaOrt.Trainer;

/// <summary>What a run remembers from step to step beside the engine's state; numbers only, saved with every checkpoint.</summary>
internal sealed class RunPosition
{
    private const string LastEvaluatedKey = "last_evaluated_step";
    private const string WithoutImprovementKey = "evaluations_without_improvement";
    private const string ScaleKey = "loss_scale";
    private const string GoodStepsKey = "steps_since_loss_scale_changed";
    private const string OverflowsKey = "overflows";

    /// <summary>Scale of the loss, where float16 gradients flow; else null.</summary>
    public LossScaling? Scaling { get; init; }

    /// <summary>Micro-batches used so far.</summary>
    public long MicroBatches { get; set; }

    /// <summary>Step that was evaluated last; 0: none.</summary>
    public long LastEvaluated { get; set; }

    /// <summary>Evaluations since the lowest loss.</summary>
    public long WithoutImprovement { get; set; }

    /// <summary>Lowest evaluation loss so far.</summary>
    public double? BestEvalLoss { get; set; }

    /// <summary>The numbers, for the other ranks.</summary>
    public long[] ToNumbers() => [MicroBatches, LastEvaluated, WithoutImprovement, BitConverter.DoubleToInt64Bits(BestEvalLoss ?? double.NaN), Scaling?.Scale ?? 0, Scaling?.GoodSteps ?? 0, Scaling?.Overflows ?? 0];

    /// <summary>What <see cref="ToNumbers"/> gave on another rank.</summary>
    public static RunPosition FromNumbers(ReadOnlySpan<long> numbers) => new()
    {
        MicroBatches = numbers[0],
        LastEvaluated = numbers[1],
        WithoutImprovement = numbers[2],
        BestEvalLoss = BitConverter.Int64BitsToDouble(numbers[3]) is var best && double.IsNaN(best) ? null : best,
        Scaling = numbers[4] == 0 ? null : new LossScaling(numbers[4], numbers[5], numbers[6]),
    };

    /// <summary>Where a run begins.</summary>
    public static RunPosition Begin(RunSettings settings, Manifest manifest) =>
        new() { Scaling = manifest.ComputeType == "f16" ? new LossScaling(settings.Training.LossScale ?? LossScaling.Initial) : null };

    /// <summary>Where a checkpoint says the run stood.</summary>
    public static RunPosition Of(CheckpointState state) => new()
    {
        MicroBatches = state.MicroBatchIndex,
        LastEvaluated = state.Counters.GetValueOrDefault(LastEvaluatedKey),
        WithoutImprovement = state.Counters.GetValueOrDefault(WithoutImprovementKey),
        BestEvalLoss = state.BestEvalLoss,
        Scaling = state.Counters.TryGetValue(ScaleKey, out var scale) ? new LossScaling(scale, state.Counters.GetValueOrDefault(GoodStepsKey), state.Counters.GetValueOrDefault(OverflowsKey)) : null,
    };

    /// <summary>The state of a checkpoint of this run.</summary>
    public CheckpointState ToState(RunRecord record) => new()
    {
        MicroBatchIndex = MicroBatches,
        Seed = record.Settings.Training.Seed,
        Counters = Counters(),
        Options = record.ToOptions(),
        BestEvalLoss = BestEvalLoss,
    };

    private SortedDictionary<string, long> Counters()
    {
        var counters = new SortedDictionary<string, long>(StringComparer.Ordinal) { [LastEvaluatedKey] = LastEvaluated, [WithoutImprovementKey] = WithoutImprovement };
        if (Scaling is { } scaling)
            (counters[ScaleKey], counters[GoodStepsKey], counters[OverflowsKey]) = (scaling.Scale, scaling.GoodSteps, scaling.Overflows);
        return counters;
    }
}
