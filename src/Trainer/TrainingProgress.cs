namespace SorsaOrt.Trainer;

/// <summary>Where a run stands after an optimizer step or an evaluation.</summary>
/// <param name="Step">Optimizer steps done.</param>
/// <param name="TotalSteps">Optimizer steps of the whole run.</param>
/// <param name="Loss">Loss of the step, in nats per label token.</param>
/// <param name="LearningRate">Rate of the step.</param>
/// <param name="TokensPerSecond">Tokens, padding left out, of the step over its time.</param>
/// <param name="Remaining">Time left at the pace so far.</param>
/// <param name="EvalLoss">Loss of the evaluation just made; null after a step.</param>
public sealed record TrainingProgress(long Step, long TotalSteps, double Loss, double LearningRate, double TokensPerSecond, TimeSpan Remaining, double? EvalLoss);

/// <summary>How a run ended.</summary>
public enum TrainingEnd
{
    /// <summary>All steps are done.</summary>
    Completed,
    /// <summary>The evaluation loss had stopped falling.</summary>
    EarlyStopped,
    /// <summary>It was asked to stop, and saved a checkpoint to go on from.</summary>
    Interrupted,
}

/// <summary>What a run came to.</summary>
/// <param name="End">How it ended.</param>
/// <param name="Step">Optimizer steps done.</param>
/// <param name="TotalSteps">Optimizer steps asked for.</param>
/// <param name="Loss">Loss of the last step made now; null where none was.</param>
/// <param name="EvalLoss">Last evaluation made now; null where none was.</param>
/// <param name="Checkpoint">Folder of the newest checkpoint.</param>
/// <param name="Elapsed">Time of this call.</param>
/// <param name="LossScale">Scale of the loss at the end; null where no float16 gradients flow.</param>
/// <param name="Overflows">Times in the whole run that a step overflowed and was made again with half the scale; null as before.</param>
public sealed record TrainingOutcome(
    TrainingEnd End, long Step, long TotalSteps, double? Loss, double? EvalLoss, string Checkpoint, TimeSpan Elapsed, long? LossScale = null, long? Overflows = null);
