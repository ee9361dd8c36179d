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

    /// <summary>γ/(η·K), unitless, with η the peak learning rate and K the micro-batches of an optimizer step; 0: no orthonormality term.</summary>
    public double RegularizerStrength { get; init; }
}
