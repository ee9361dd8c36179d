using System.Numerics.Tensors;

namespace SorsaOrt.Adapters;

/// <summary>What training added to a weight, as the singular triples of the difference: D = B·diag(S)·A.</summary>
/// <remarks>
/// Stacking the trained factors beside the negated ones of the start says the same, but as a difference of large products: rounded to 16 bits, its
/// error is that of the singular values of the weight. The triples of D itself lose no more than D's own 16-bit rounding.
/// </remarks>
public static class WeightDelta
{
    /// <summary>D = scale·(B·diag(S)·A − B₀·diag(S₀)·A₀), of rank r + r₀ or min(out, in) where that is less.</summary>
    /// <param name="trained">A, S, B after training.</param>
    /// <param name="start">A₀, S₀, B₀ that the residual was made with; null where the residual is the weight itself (LoRA).</param>
    /// <param name="scale">alpha/r, 1 without alpha.</param>
    /// <param name="algebra">Library to compute with; null for <see cref="LinearAlgebra.Default"/>.</param>
    /// <exception cref="DecompositionException">The factors are not finite.</exception>
    public static SorsaFactors Between(SorsaFactors trained, SorsaFactors? start, double scale, LinearAlgebra? algebra = null)
    {
        algebra ??= LinearAlgebra.Default;
        var (rows, columns) = (trained.OutFeatures, trained.InFeatures);
        var terms = trained.Rank + (start?.Rank ?? 0);
        var (left, right) = (new double[checked(rows * terms)], new double[checked(terms * columns)]);
        Place(trained, scale, 0, terms, left, right);
        if (start is not null)
            Place(start, -scale, trained.Rank, terms, left, right);
        var (u, s, vt) = terms < Math.Min(rows, columns) ? OfCore(left, right, rows, columns, terms, algebra) : OfProduct(left, right, rows, columns, terms, algebra);
        return new SorsaFactors(s.Length, rows, columns, Round(vt, "A"), Round(s, "S"), Round(u, "B"));
    }

    // left [out, terms] gets factor·B·diag(S) as columns, right [terms, in] the rows of A.
    private static void Place(SorsaFactors factors, double factor, int first, int terms, double[] left, double[] right)
    {
        for (var i = 0; i < factors.OutFeatures; i++)
        {
            for (var j = 0; j < factors.Rank; j++)
                left[(i * terms) + first + j] = factor * factors.S[j] * factors.B[(i * factors.Rank) + j];
        }
        TensorPrimitives.ConvertTruncating<float, double>(factors.A, right.AsSpan(first * factors.InFeatures));
    }

    // left·right = Q₁·(R₁·R₂ᵀ)·Q₂ᵀ with Q₁, Q₂ orthonormal: the SVD is that of the small matrix in the middle.
    private static (double[] U, double[] S, double[] Vt) OfCore(double[] left, double[] right, int rows, int columns, int terms, LinearAlgebra algebra)
    {
        var turned = new double[right.Length];
        MatrixLayout.Transpose<double>(right, terms, columns, turned);
        var (q1, q2) = ((double[])left.Clone(), (double[])turned.Clone());
        algebra.Orthonormalize(q1, rows, terms);
        algebra.Orthonormalize(q2, columns, terms);
        var (r1, r2, core) = (new double[terms * terms], new double[terms * terms], new double[terms * terms]);
        algebra.Multiply(true, terms, terms, rows, q1, left, r1);
        algebra.Multiply(false, terms, terms, columns, right, q2, r2);
        algebra.Multiply(false, terms, terms, terms, r1, r2, core);
        var (u, s, vt) = (new double[core.Length], new double[terms], new double[core.Length]);
        algebra.Svd(core, terms, terms, u, s, vt);
        var (wideU, wideVt) = (new double[left.Length], turned);
        algebra.Multiply(false, rows, terms, terms, q1, u, wideU);
        MatrixLayout.Transpose<double>(q2, columns, terms, right);
        algebra.Multiply(false, terms, columns, terms, vt, right, wideVt);
        return (wideU, s, wideVt);
    }

    private static (double[] U, double[] S, double[] Vt) OfProduct(double[] left, double[] right, int rows, int columns, int terms, LinearAlgebra algebra)
    {
        var rank = Math.Min(rows, columns);
        var product = new double[checked(rows * columns)];
        algebra.Multiply(false, rows, columns, terms, left, right, product);
        var (u, s, vt) = (new double[rows * rank], new double[rank], new double[rank * columns]);
        algebra.Svd(product, rows, columns, u, s, vt);
        return (u, s, vt);
    }

    private static float[] Round(double[] values, string factor)
    {
        var rounded = new float[values.Length];
        TensorPrimitives.ConvertTruncating<double, float>(values, rounded);
        if (NonFinite.Find(rounded).Count > 0)
            throw new DecompositionException($"the factor {factor} of what training added is not finite");
        return rounded;
    }
}
