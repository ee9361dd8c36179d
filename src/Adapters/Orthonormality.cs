using System.Numerics.Tensors;

namespace SorsaOrt.Adapters;

/// <summary>The regulariser: the mean over all A and B of ‖A·Aᵀ − I‖_F and ‖Bᵀ·B − I‖_F (Frobenius norm, not squared).</summary>
/// <remarks>Computed in float64. Source: arXiv 2409.00055; Gunale0926/SORSA sorsalib/src/sorsa/layer.py, calc_ortho.</remarks>
public static class Orthonormality
{
    /// <summary>Guard τ: a matrix with ‖M‖_F at most τ·r has gradient 0, since rounding noise alone gives it a direction there.</summary>
    public const double Guard = 1e-6;

    /// <summary>‖A·Aᵀ − I‖_F of A [rank, columns].</summary>
    public static double RowDeviation(ReadOnlySpan<float> a, int rank, int columns) => Norm(RowExcess(Widen(a), rank, columns));

    /// <summary>‖Bᵀ·B − I‖_F of B [rows, rank].</summary>
    public static double ColumnDeviation(ReadOnlySpan<float> b, int rows, int rank) => Norm(ColumnExcess(Widen(b), rows, rank));

    /// <summary>The regulariser over all adapters: a sum of two norms for each, divided by twice their number.</summary>
    public static double Mean(IReadOnlyCollection<SorsaFactors> adapters)
    {
        var sum = adapters.Sum(f => RowDeviation(f.A, f.Rank, f.InFeatures) + ColumnDeviation(f.B, f.OutFeatures, f.Rank));
        return sum / (2.0 * adapters.Count);
    }

    /// <summary>gradient = coefficient·2·M·A/‖M‖_F with M = A·Aᵀ − I, or 0 where ‖M‖_F is at most guard·rank.</summary>
    /// <param name="a">A [rank, columns].</param>
    /// <param name="rank">Rows of A.</param>
    /// <param name="columns">Columns of A.</param>
    /// <param name="coefficient">1/N for the gradient of the mean over N matrices; γ/(η·K·N) for what reaches the optimizer.</param>
    /// <param name="gradient">[rank, columns].</param>
    /// <param name="guard">τ; 0 for the reference's own rule (still 0 at M = 0).</param>
    public static void RowGradient(ReadOnlySpan<float> a, int rank, int columns, double coefficient, Span<float> gradient, double guard = Guard)
    {
        var wide = Widen(a);
        var excess = RowExcess(wide, rank, columns);
        var product = new double[wide.Length];
        if (ScaleByNorm(excess, rank, coefficient, guard))
            LinearAlgebra.Default.Multiply(false, rank, columns, rank, excess, wide, product);
        TensorPrimitives.ConvertTruncating<double, float>(product, gradient);
    }

    /// <summary>gradient = coefficient·2·B·Q/‖Q‖_F with Q = Bᵀ·B − I, or 0 where ‖Q‖_F is at most guard·rank.</summary>
    /// <param name="b">B [rows, rank].</param>
    /// <param name="rows">Rows of B.</param>
    /// <param name="rank">Columns of B.</param>
    /// <param name="coefficient">As in <see cref="RowGradient"/>.</param>
    /// <param name="gradient">[rows, rank].</param>
    /// <param name="guard">As in <see cref="RowGradient"/>.</param>
    public static void ColumnGradient(ReadOnlySpan<float> b, int rows, int rank, double coefficient, Span<float> gradient, double guard = Guard)
    {
        var wide = Widen(b);
        var excess = ColumnExcess(wide, rows, rank);
        var product = new double[wide.Length];
        if (ScaleByNorm(excess, rank, coefficient, guard))
            LinearAlgebra.Default.Multiply(false, rows, rank, rank, wide, excess, product);
        TensorPrimitives.ConvertTruncating<double, float>(product, gradient);
    }

    private static bool ScaleByNorm(double[] excess, int rank, double coefficient, double guard)
    {
        var norm = Norm(excess);
        if (norm <= guard * rank)
            return false;
        TensorPrimitives.Multiply(excess, 2 * coefficient / norm, excess);
        return true;
    }

    private static double[] RowExcess(double[] a, int rank, int columns)
    {
        var transposed = new double[a.Length];
        MatrixLayout.Transpose<double>(a, rank, columns, transposed);
        return ColumnExcess(transposed, columns, rank);
    }

    private static double[] ColumnExcess(double[] b, int rows, int rank)
    {
        var gram = new double[rank * rank];
        LinearAlgebra.Default.Multiply(true, rank, rank, rows, b, b, gram);
        for (var i = 0; i < rank; i++)
            gram[(i * rank) + i] -= 1;
        return gram;
    }

    private static double Norm(double[] matrix) => TensorPrimitives.Norm<double>(matrix);

    private static double[] Widen(ReadOnlySpan<float> values)
    {
        var wide = new double[values.Length];
        TensorPrimitives.ConvertTruncating<float, double>(values, wide);
        return wide;
    }
}
