using SorsaOrt.Artifacts;

namespace SorsaOrt.Trainer;

/// <summary>What a run remembers from step to step beside the engine's state; numbers only, saved with every checkpoint.</summary>
internal sealed class RunPosition
{
    private const string LastEvaluatedKey = "last_evaluated_step";
    private const string WithoutImprovementKey = "evaluations_without_improvement";

    /// <summary>Micro-batches used so far.</summary>
    public long MicroBatches { get; set; }

    /// <summary>Step that was evaluated last; 0: none.</summary>
    public long LastEvaluated { get; set; }

    /// <summary>Evaluations since the lowest loss.</summary>
    public long WithoutImprovement { get; set; }

    /// <summary>Lowest evaluation loss so far.</summary>
    public double? BestEvalLoss { get; set; }

    /// <summary>The numbers, for the other ranks.</summary>
    public long[] ToNumbers() => [MicroBatches, LastEvaluated, WithoutImprovement, BitConverter.DoubleToInt64Bits(BestEvalLoss ?? double.NaN)];

    /// <summary>What <see cref="ToNumbers"/> gave on another rank.</summary>
    public static RunPosition FromNumbers(ReadOnlySpan<long> numbers) => new()
    {
        MicroBatches = numbers[0],
        LastEvaluated = numbers[1],
        WithoutImprovement = numbers[2],
        BestEvalLoss = BitConverter.Int64BitsToDouble(numbers[3]) is var best && double.IsNaN(best) ? null : best,
    };

    /// <summary>Where a checkpoint says the run stood.</summary>
    public static RunPosition Of(CheckpointState state) => new()
    {
        MicroBatches = state.MicroBatchIndex,
        LastEvaluated = state.Counters.GetValueOrDefault(LastEvaluatedKey),
        WithoutImprovement = state.Counters.GetValueOrDefault(WithoutImprovementKey),
        BestEvalLoss = state.BestEvalLoss,
    };

    /// <summary>The state of a checkpoint of this run.</summary>
    public CheckpointState ToState(RunRecord record) => new()
    {
        MicroBatchIndex = MicroBatches,
        Seed = record.Settings.Training.Seed,
        Counters = new SortedDictionary<string, long>(StringComparer.Ordinal) { [LastEvaluatedKey] = LastEvaluated, [WithoutImprovementKey] = WithoutImprovement },
        Options = record.ToOptions(),
        BestEvalLoss = BestEvalLoss,
    };
}
