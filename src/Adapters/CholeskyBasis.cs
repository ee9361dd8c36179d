using System.Numerics.Tensors;

namespace SorsaOrt.Adapters;

/// <summary>An orthonormal basis through the Gram matrix: nearly all of its work is matrix products, unlike Householder reflections one at a time.</summary>
/// <remarks>
/// CholeskyQR2 (Yamamoto, Nakatsukasa, Yanagisawa, Fukaya, ETNA 44, 2015): Q ← Q·R⁻¹ with QᵀQ = RᵀR, twice. The first pass leaves an
/// error of about cond(Q)²·2⁻⁵³, the second one brings it to rounding; columns are scaled to length 1 first.
/// </remarks>
internal static class CholeskyBasis
{
    // Least squared distance of a unit column from the span of those before it: 2⁻⁵³ / 1e-10 is an error the second pass repairs.
    private const double LeastPivot = 1e-10;

    /// <summary>Orthonormalises the columns of Q [rows, columns]; false, with Q as it was, where they are too close to dependent.</summary>
    public static bool TryOrthonormalize(LinearAlgebra algebra, Span<double> q, int rows, int columns)
    {
        var first = new double[rows * columns];
        if (!TryPass(algebra, q, first, rows, columns))
            return false;
        var second = new double[rows * columns];
        if (!TryPass(algebra, first, second, rows, columns))
            return false;
        second.CopyTo(q);
        return true;
    }

    private static bool TryPass(LinearAlgebra algebra, ReadOnlySpan<double> q, double[] result, int rows, int columns)
    {
        var gram = new double[columns * columns];
        algebra.Multiply(true, columns, columns, rows, q, q, gram);
        var scales = new double[columns];
        for (var i = 0; i < columns; i++)
        {
            var square = gram[(i * columns) + i];
            if (!double.IsNormal(square))
                return false;
            scales[i] = 1 / Math.Sqrt(square);
        }
        for (var i = 0; i < columns; i++)
        {
            for (var j = 0; j < columns; j++)
                gram[(i * columns) + j] *= scales[i] * scales[j];
        }
        if (!TryFactor(gram, columns))
            return false;
        var inverse = InverseOfTransposed(gram, columns);
        for (var i = 0; i < columns; i++)
            TensorPrimitives.Multiply(inverse.AsSpan(i * columns, columns), scales[i], inverse.AsSpan(i * columns, columns));
        algebra.Multiply(false, rows, columns, columns, q, inverse, result);
        return true;
    }

    // The lower triangle becomes L with L·Lᵀ = G.
    private static bool TryFactor(double[] g, int n)
    {
        for (var j = 0; j < n; j++)
        {
            var row = g.AsSpan(j * n, j);
            var pivot = g[(j * n) + j] - TensorPrimitives.Dot<double>(row, row);
            if (!(pivot > LeastPivot))
                return false;
            g[(j * n) + j] = Math.Sqrt(pivot);
            for (var i = j + 1; i < n; i++)
                g[(i * n) + j] = (g[(i * n) + j] - TensorPrimitives.Dot<double>(g.AsSpan(i * n, j), row)) / g[(j * n) + j];
        }
        return true;
    }

    // L⁻ᵀ, upper triangular: row i of the result is column i of L⁻¹.
    private static double[] InverseOfTransposed(double[] l, int n)
    {
        var inverse = new double[n * n];
        for (var i = 0; i < n; i++)
        {
            var row = inverse.AsSpan(i * n, n);
            row[i] = 1 / l[(i * n) + i];
            for (var j = i + 1; j < n; j++)
                row[j] = -TensorPrimitives.Dot<double>(l.AsSpan((j * n) + i, j - i), row[i..j]) / l[(j * n) + j];
        }
        return inverse;
    }
}
