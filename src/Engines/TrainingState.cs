namespace SorsaOrt.Engines;

/// <summary>Which product of a trainable matrix the regulariser holds near the identity.</summary>
public enum Orthonormality
{
    /// <summary>None: S, LoRA, full weights.</summary>
    None,
    /// <summary>A·Aᵀ, of A [r, in].</summary>
    Rows,
    /// <summary>Bᵀ·B, of B [out, r].</summary>
    Columns,
}

/// <summary>Where a trainable parameter lies in the flat buffers.</summary>
internal sealed record ParameterSlot(string Name, long[] Shape, long Offset, Orthonormality Constraint)
{
    /// <summary>Elements.</summary>
    public long Count { get; } = Shape.Aggregate(1L, (product, d) => checked(product * d));
}

/// <summary>Parameters, gradients and both Adam moments, each in one flat buffer, and the number of updates made.</summary>
internal sealed class TrainingState : IDisposable
{
    /// <summary>Zeroed state for <paramref name="parameters"/>; gradients and moments only where <paramref name="training"/>.</summary>
    public TrainingState(IReadOnlyList<ParameterSlot> parameters, bool training)
    {
        Parameters = parameters;
        var length = parameters.Select(p => checked(p.Offset + p.Count)).DefaultIfEmpty(0).Max();
        Values = new FlatBuffer<float>(length);
        Gradients = new FlatBuffer<float>(training ? length : 0);
        FirstMoments = new FlatBuffer<float>(training ? length : 0);
        SecondMoments = new FlatBuffer<float>(training ? length : 0);
    }

    /// <summary>Where each parameter lies.</summary>
    public IReadOnlyList<ParameterSlot> Parameters { get; }

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

/// <summary>Paths of the optimizer's graphs.</summary>
internal sealed record OptimizerFiles(string Norm, string RegularizerOfRows, string RegularizerOfColumns, string AdamW);
