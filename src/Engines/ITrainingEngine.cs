using SorsaOrt.Artifacts;

namespace SorsaOrt.Engines;

/// <summary>What a training loop asks of an engine: <see cref="SessionEngine"/> over plain sessions, <see cref="OnDeviceEngine"/> over the official training runtime. Not thread-safe.</summary>
public interface ITrainingEngine : IDisposable
{
    /// <summary>The artifacts it works on.</summary>
    ArtifactSet Artifacts { get; }

    /// <summary>Updates made so far.</summary>
    long Step { get; }

    /// <summary>Parameters, gradients and moments, where they lie in memory that ranks can exchange; null where the native library keeps them to itself.</summary>
    TrainingState? State { get; }

    /// <summary>Forward and backward of a micro-batch; adds <paramref name="lossScale"/>·∂LossSum/∂P to the gradients. The result is not scaled.</summary>
    StepResult Accumulate(in TokenBatch batch, double lossScale);

    /// <summary>Clips, adds the regulariser's gradient, makes an AdamW step with rate <paramref name="learningRate"/>, and zeroes the gradients.</summary>
    /// <remarks>If the result is not finite nothing has been updated; the gradients are zeroed all the same.</remarks>
    UpdateResult Update(AdamWOptions options, double learningRate);

    /// <summary>Forgets the micro-batches since the last update.</summary>
    void DiscardGradients();

    /// <summary>Loss of a batch, without gradients.</summary>
    StepResult Evaluate(in TokenBatch batch);

    /// <summary>Whether every parameter and moment is a number: a checkpoint of anything else is worth nothing.</summary>
    bool IsFinite { get; }

    /// <summary>Writes parameters and moments, in the one format that every engine reads; the caller commits the checkpoint.</summary>
    void Save(CheckpointWriter checkpoint);

    /// <summary>Takes parameters, moments and count of steps of a checkpoint, whichever engine wrote it.</summary>
    void Load(Checkpoint checkpoint);
}
