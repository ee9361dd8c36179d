using SorsaOrt.Ir;

namespace SorsaOrt.Autodiff;

/// <summary>The loss of language models.</summary>
public static class CrossEntropy
{
    /// <summary>−Σᵢ log softmax(logitsᵢ)[labelᵢ], a sum over rows: divide by their number outside.</summary>
    /// <remarks>
    /// Stable for logits of any size; logits of 16 bits are widened to float32. The gradient is (softmax − one-hot)·dLoss in three
    /// passes over [N, V]: exp, one element of each row corrected, and the scale, which a Gemm before it takes behind its own gradient.
    /// </remarks>
    /// <param name="op">Builder of the forward graph.</param>
    /// <param name="logits">[N, V].</param>
    /// <param name="labelIds">[N], 64-bit integers in 0 … V−1; every row counts.</param>
    /// <returns>The scalar loss sum, in nats.</returns>
    public static Value Build(OpBuilder op, Value logits, Value labelIds)
    {
        var wide = op.Cast(logits, logits.ElementType is ElementType.Float64 ? ElementType.Float64 : ElementType.Float32);
        var logProbabilities = op.Emit("LogSoftmax", [wide], NodeAttribute.Of("axis", -1));
        var picked = op.Emit("GatherElements", [logProbabilities, op.Unsqueeze(labelIds, 1)], NodeAttribute.Of("axis", 1));
        return op.Unary("Neg", op.ReduceSum(picked, keepDims: false));
    }
}
