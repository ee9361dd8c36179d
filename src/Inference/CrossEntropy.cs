using System.Numerics.Tensors;

namespace SorsaOrt.Inference;

/// <summary>Cross entropy of one prediction.</summary>
internal static class CrossEntropy
{
    /// <summary>−log softmax(z)[id] = log Σ exp(zᵢ − m) + m − z[id] with m = max z, in nats.</summary>
    /// <param name="logits">z [vocabulary]; overwritten.</param>
    /// <param name="id">The right token.</param>
    public static double Of(Span<float> logits, int id)
    {
        float most = TensorPrimitives.Max<float>(logits), right = logits[id];
        TensorPrimitives.Subtract(logits, most, logits);
        TensorPrimitives.Exp<float>(logits, logits);
        return Math.Log(TensorPrimitives.Sum<float>(logits)) + most - right;
    }
}
