using SorsaOrt.Artifacts;

namespace SorsaOrt.Engines;

/// <summary>Parameters, gradients and both Adam moments, each in one flat buffer, and the number of updates made.</summary>
public sealed class TrainingState : IDisposable
{
    /// <summary>Zeroed state of <paramref name="length"/> elements for <paramref name="parameters"/>; gradients and moments only where <paramref name="training"/>.</summary>
    public TrainingState(IReadOnlyList<TrainedParameter> parameters, long length, bool training)
    {
        Parameters = parameters;
        Values = new FlatBuffer<float>(length);
        Gradients = new FlatBuffer<float>(training ? length : 0);
        FirstMoments = new FlatBuffer<float>(training ? length : 0);
        SecondMoments = new FlatBuffer<float>(training ? length : 0);
    }

    /// <summary>Where each parameter lies.</summary>
    public IReadOnlyList<TrainedParameter> Parameters { get; }

    /// <summary>Updates made so far: Adam's t.</summary>
    public long Step { get; set; }

    /// <summary>The parameters.</summary>
    public FlatBuffer<float> Values { get; }

    /// <summary>Sum of the scaled gradients since the last update.</summary>
    public FlatBuffer<float> Gradients { get; }

    /// <summary>Adam's m.</summary>
    public FlatBuffer<float> FirstMoments { get; }

    /// <summary>Adam's v.</summary>
    public FlatBuffer<float> SecondMoments { get; }

    /// <inheritdoc/>
    public void Dispose()
    {
        Values.Dispose();
        Gradients.Dispose();
        FirstMoments.Dispose();
        SecondMoments.Dispose();
    }
}
