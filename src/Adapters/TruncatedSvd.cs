using System.Numerics.Tensors;

namespace SorsaOrt.Adapters;

/// <summary>The r largest singular values of a matrix M [rows, columns] and their vectors, float64: M ≈ U·diag(s)·Vᵀ.</summary>
/// <param name="U">[rows, r], orthonormal columns.</param>
/// <param name="S">[r], descending, not negative.</param>
/// <param name="Vt">[r, columns], orthonormal rows.</param>
internal sealed record TruncatedSvd(double[] U, double[] S, double[] Vt)
{
    private const int TileRows = 256;

    // Beyond 2^±32 a float32 sum of products could overflow or lose its small terms to denormals.
    private const int SafeExponent = 32;

    /// <summary>Full SVD in float64, cut to the rank.</summary>
    public static TruncatedSvd Exact(ReadOnlySpan<float> matrix, int rows, int columns, int rank, LinearAlgebra algebra)
    {
        var k = Math.Min(rows, columns);
        var exponent = ExponentOfLargest(matrix);
        var work = new double[matrix.Length];
        ToDouble(matrix, exponent, work);
        var u = new double[rows * k];
        var s = new double[k];
        var vt = new double[k * columns];
        algebra.Svd(work, rows, columns, u, s, vt);
        return new TruncatedSvd(LeadingColumns(u, rows, k, rank), s[..rank], vt[..(rank * columns)]).Finish(rows, columns, exponent);
    }

    /// <summary>Randomised range finder with power iterations, float32 products and float64 bases; the last projection is float64.</summary>
    /// <remarks>
    /// Halko, Martinsson, Tropp (arXiv 0909.4061), algorithms 4.4 and 5.1, as torch.svd_lowrank and PiSSA's fast SVD. With Q the basis found,
    /// M ≈ Q·(Mᵀ·Q)ᵀ, whose SVD is that of the thin matrix Mᵀ·Q [columns, rank + oversampling].
    /// </remarks>
    public static TruncatedSvd Randomized(ReadOnlySpan<float> matrix, int rows, int columns, int rank, SvdOptions options, LinearAlgebra algebra)
    {
        var k = Math.Min(rank + options.Oversampling, Math.Min(rows, columns));
        var exponent = ExponentOfLargest(matrix);
        if (Math.Abs(exponent) > SafeExponent)
            matrix = Scaled(matrix, exponent);
        else
            exponent = 0;

        var test = new float[columns * k];
        new Xoshiro256(options.Seed).FillNormal(test);
        var range = new float[rows * k];
        var basis = new double[Math.Max(rows, columns) * k];
        var q = basis.AsSpan(0, rows * k);
        algebra.Multiply(false, rows, k, columns, matrix, test, range);
        Orthonormalize(range, q, rows, k, algebra);
        for (var i = 0; i < options.Iterations; i++)
        {
            algebra.Multiply(true, columns, k, rows, matrix, range, test);
            Orthonormalize(test, basis.AsSpan(0, columns * k), columns, k, algebra);
            algebra.Multiply(false, rows, k, columns, matrix, test, range);
            Orthonormalize(range, q, rows, k, algebra);
        }

        var projection = Project(matrix, q, rows, columns, k, algebra);
        var left = new double[columns * k];
        var s = new double[k];
        var rightT = new double[k * k];
        algebra.Svd(projection, columns, k, left, s, rightT);
        var right = new double[k * k];
        MatrixLayout.Transpose(rightT, k, k, right);
        var u = new double[rows * k];
        algebra.Multiply(false, rows, k, k, q, right, u);
        var vt = new double[k * columns];
        MatrixLayout.Transpose(left, columns, k, vt);
        return new TruncatedSvd(LeadingColumns(u, rows, k, rank), s[..rank], vt[..(rank * columns)]).Finish(rows, columns, exponent);
    }

    /// <summary>Mᵀ·Q [columns, k] in float64, M converted a few rows at a time.</summary>
    private static double[] Project(ReadOnlySpan<float> matrix, ReadOnlySpan<double> q, int rows, int columns, int k, LinearAlgebra algebra)
    {
        var result = new double[columns * k];
        var tile = new double[Math.Min(TileRows, rows) * columns];
        for (var row = 0; row < rows; row += TileRows)
        {
            var height = Math.Min(TileRows, rows - row);
            var part = tile.AsSpan(0, height * columns);
            TensorPrimitives.ConvertTruncating(matrix.Slice(row * columns, part.Length), part);
            algebra.Multiply(true, columns, k, height, part, q.Slice(row * k, height * k), result, accumulate: true);
        }
        return result;
    }

    private static void Orthonormalize(Span<float> vectors, Span<double> q, int rows, int columns, LinearAlgebra algebra)
    {
        TensorPrimitives.ConvertTruncating<float, double>(vectors, q);
        algebra.Orthonormalize(q, rows, columns);
        TensorPrimitives.ConvertTruncating<double, float>(q, vectors);
    }

    /// <summary>Undoes the scaling, sets singular values below the float64 noise of the largest to 0 and fixes the signs.</summary>
    /// <remarks>Signs: the entry of largest magnitude in each row of Vᵀ (the first of equals) is positive.</remarks>
    private TruncatedSvd Finish(int rows, int columns, int exponent)
    {
        var rank = S.Length;
        var noise = S[0] * Math.Max(rows, columns) * Math.Pow(2, -52);
        for (var i = 0; i < rank; i++)
        {
            S[i] = S[i] > noise ? Math.ScaleB(S[i], exponent) : 0;
            var row = Vt.AsSpan(i * columns, columns);
            if (row[TensorPrimitives.IndexOfMaxMagnitude<double>(row)] >= 0)
                continue;
            TensorPrimitives.Negate<double>(row, row);
            for (var j = 0; j < rows; j++)
                U[(j * rank) + i] = -U[(j * rank) + i];
        }
        return this;
    }

    private static double[] LeadingColumns(double[] matrix, int rows, int columns, int leading)
    {
        var result = new double[rows * leading];
        for (var i = 0; i < rows; i++)
            matrix.AsSpan(i * columns, leading).CopyTo(result.AsSpan(i * leading));
        return result;
    }

    /// <summary>e with 2^e the power of two at or below the largest magnitude; 0 for a zero matrix.</summary>
    private static int ExponentOfLargest(ReadOnlySpan<float> matrix)
    {
        var largest = Math.Abs(TensorPrimitives.MaxMagnitude(matrix));
        return largest == 0 ? 0 : Math.ILogB(largest);
    }

    private static void ToDouble(ReadOnlySpan<float> matrix, int exponent, Span<double> target)
    {
        TensorPrimitives.ConvertTruncating(matrix, target);
        TensorPrimitives.Multiply(target, Math.ScaleB(1, -exponent), target);
    }

    private static float[] Scaled(ReadOnlySpan<float> matrix, int exponent)
    {
        var factor = Math.ScaleB(1, -exponent);
        var result = new float[matrix.Length];
        for (var i = 0; i < result.Length; i++)
            result[i] = (float)(matrix[i] * factor);
        return result;
    }
}
