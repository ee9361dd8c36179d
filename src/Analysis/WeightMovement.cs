using System.Numerics.Tensors;
using SorsaOrt.Adapters;

namespace SorsaOrt.Analysis;

/// <summary>How far training moved one weight, seen in its singular value decomposition.</summary>
/// <remarks>
/// Source: arXiv 2409.00055, the analysis of singular values and vectors: over the k triples (σ, u, v) in order of σ,
/// ΔΣ = Σᵢ|σₜⁱ − σ₀ⁱ|/k and ΔD = 1 − Σᵢ(|uₜⁱ·u₀ⁱ| + |vₜⁱ·v₀ⁱ|)/2k. Vectors of (nearly) equal singular values are only known up to a rotation,
/// so a weight whose spectrum has such values shows a ΔD even when hardly anything moved.
/// </remarks>
/// <param name="MeanSigma">ΔΣ, in the unit of the weight; at least 0.</param>
/// <param name="Directions">ΔD, 0 (no vector turned) to 1 (all orthogonal to where they were).</param>
public readonly record struct WeightMovement(double MeanSigma, double Directions)
{
    /// <summary>From the factors of the weight before and after, both of the same shape and rank.</summary>
    public static WeightMovement Between(SorsaFactors before, SorsaFactors after)
    {
        var (rank, rows, columns) = (before.Rank, before.OutFeatures, before.InFeatures);
        if ((rank, rows, columns) != (after.Rank, after.OutFeatures, after.InFeatures))
            throw new ArgumentException("the two decompositions differ in shape or rank", nameof(after));
        double sigma = 0, cosines = 0;
        Span<double> left = new double[rank];
        for (var j = 0; j < rows; j++)
        {
            for (var i = 0; i < rank; i++)
                left[i] += (double)before.B[j * rank + i] * after.B[j * rank + i];
        }
        for (var i = 0; i < rank; i++)
        {
            var right = TensorPrimitives.Dot<float>(before.A.AsSpan(i * columns, columns), after.A.AsSpan(i * columns, columns));
            sigma += Math.Abs((double)after.S[i] - before.S[i]);
            cosines += (Math.Abs(left[i]) + Math.Abs(right)) / 2;
        }
        return new WeightMovement(sigma / rank, Math.Max(0, 1 - cosines / rank));
    }
}
