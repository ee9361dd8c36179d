namespace SorsaOrt.Engines;

/// <summary>The numbers of an optimizer step that stay the same throughout a run.</summary>
public sealed record AdamWOptions
{
    /// <summary>Decay β₁ of the first moment.</summary>
    public double Beta1 { get; init; } = 0.9;

    /// <summary>Decay β₂ of the second moment.</summary>
    public double Beta2 { get; init; } = 0.999;

    /// <summary>ε in the denominator.</summary>
    public double Epsilon { get; init; } = 1e-8;

    /// <summary>Decoupled weight decay.</summary>
    public double WeightDecay { get; init; }

    /// <summary>Gradient norm that larger gradients are scaled to; 0: no clipping.</summary>
    public double MaxGradNorm { get; init; } = 1;

    /// <summary>Factor of ∂ortho in the gradient: γ/(η·K), with η the peak learning rate and K the accumulation steps.</summary>
    public double RegularizerStrength { get; init; }

    /// <summary>Factor that the loss was scaled by beside its average, and that its gradients are divided by: a power of two, so that nothing is rounded.</summary>
    public double LossScale { get; init; } = 1;
}

/// <summary>What an optimizer step saw before it changed anything.</summary>
/// <param name="GradientNorm">Norm of the task loss's gradient over all parameters, before clipping.</param>
/// <param name="OrthonormalityLoss">Mean over all A and B of ‖A·Aᵀ − I‖_F and ‖Bᵀ·B − I‖_F; 0 where nothing is regularised.</param>
public readonly record struct UpdateResult(double GradientNorm, double OrthonormalityLoss)
{
    /// <summary>Whether both are finite. If not, the parameters, moments and the count of steps are as they were.</summary>
    public bool IsFinite => double.IsFinite(GradientNorm) && double.IsFinite(OrthonormalityLoss);
}
