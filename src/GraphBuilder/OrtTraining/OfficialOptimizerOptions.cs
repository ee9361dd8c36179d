namespace SorsaOrt.GraphBuilder.OrtTraining;

/// <summary>What the official optimizer_model.onnx fixes when it is built: the runtime can set the learning rate and nothing else.</summary>
public sealed record OfficialOptimizerOptions
{
    /// <summary>β₁ of AdamW.</summary>
    public float Beta1 { get; init; } = 0.9f;

    /// <summary>β₂ of AdamW.</summary>
    public float Beta2 { get; init; } = 0.999f;

    /// <summary>ε of AdamW.</summary>
    public float Epsilon { get; init; } = 1e-8f;

    /// <summary>Decoupled weight decay.</summary>
    public float WeightDecay { get; init; }

    /// <summary>Largest norm of all gradients together; 0: not clipped.</summary>
    public float MaxGradNorm { get; init; } = 1;

    /// <summary>Weight γ of the orthonormality term; 0: left out.</summary>
    public double Gamma { get; init; }

    /// <summary>Base learning rate η in γ/(η·K). The runtime's own rate is 0.001 until it is set.</summary>
    public double LearningRate { get; init; } = 1e-3;

    /// <summary>Micro-batches K of an optimizer step in γ/(η·K).</summary>
    public int Accumulation { get; init; } = 1;

    /// <summary>γ/(η·K), unitless.</summary>
    public double RegularizerStrength => Gamma / (LearningRate * Accumulation);
}
