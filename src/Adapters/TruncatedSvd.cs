using System.Numerics.Tensors;

namespace SorsaOrt.Adapters;

/// <summary>The r largest singular values of a matrix M [rows, columns] and their vectors, float64: M ≈ U·diag(s)·Vᵀ.</summary>
/// <param name="U">[rows, r], orthonormal columns.</param>
/// <param name="S">[r], descending, not negative.</param>
/// <param name="Vt">[r, columns], orthonormal rows.</param>
internal sealed record TruncatedSvd(double[] U, double[] S, double[] Vt)
{
    private const int TileRows = 256;

    private const int GramFrom = 128;
    private const int GramOversampling = 16;

    // Beyond 2^±32 a float32 sum of products could overflow or lose its small terms to denormals.
    private const int SafeExponent = 32;

    /// <summary>SVD in float64, cut to the rank.</summary>
    public static TruncatedSvd Exact(ReadOnlySpan<float> matrix, int rows, int columns, int rank, LinearAlgebra algebra)
    {
        var k = Math.Min(rows, columns);
        var exponent = ExponentOfLargest(matrix);
        var work = new double[matrix.Length];
        ToDouble(matrix, exponent, work);
        if (algebra is ManagedLinearAlgebra managed && k >= GramFrom && 2 * (rank + GramOversampling) <= k)
            return ThroughGram(work, rows, columns, rank, managed).Finish(rows, columns, exponent);
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
        return FromRange(q, projection, rows, columns, k, rank, algebra).Finish(rows, columns, exponent);
    }

    /// <summary>The leading part without a full SVD, which takes the managed library ten times as long.</summary>
    /// <remarks>
    /// Eigenvectors of M·Mᵀ or Mᵀ·M know directions down to about 1e-8 of the largest singular value. One step of subspace iteration and the SVD
    /// of the projection then give values within 1e-9 of the largest: below the rounding of a float32 weight, which is 6e-8 of it.
    /// </remarks>
    private static TruncatedSvd ThroughGram(double[] matrix, int rows, int columns, int rank, ManagedLinearAlgebra algebra)
    {
        var small = Math.Min(rows, columns);
        var k = rank + GramOversampling;
        var gram = new double[small * small];
        if (rows < columns)
        {
            var transposed = new double[matrix.Length];
            MatrixLayout.Transpose<double>(matrix, rows, columns, transposed);
            algebra.Multiply(false, small, small, columns, matrix, transposed, gram, false);
        }
        else
        {
            algebra.Multiply(true, small, small, rows, matrix, matrix, gram, false);
        }
        var leading = algebra.LeadingEigenvectors(gram, small, k);
        var domain = new double[columns * k];
        if (rows < columns)
        {
            algebra.Multiply(true, columns, k, rows, matrix, leading, domain, false);
            algebra.Orthonormalize(domain, columns, k);
        }
        else
        {
            leading.CopyTo(domain, 0);
        }
        var range = new double[rows * k];
        algebra.Multiply(false, rows, k, columns, matrix, domain, range, false);
        algebra.Orthonormalize(range, rows, k);
        algebra.Multiply(true, columns, k, rows, matrix, range, domain, false);
        return FromRange(range, domain, rows, columns, k, rank, algebra);
    }

    /// <summary>With Q [rows, k] orthonormal and T = Mᵀ·Q [columns, k] = L·diag(s)·Rᵀ: M ≈ Q·Tᵀ = (Q·R)·diag(s)·Lᵀ.</summary>
    private static TruncatedSvd FromRange(ReadOnlySpan<double> q, double[] projection, int rows, int columns, int k, int rank, LinearAlgebra algebra)
    {
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
        return new TruncatedSvd(LeadingColumns(u, rows, k, rank), s[..rank], vt[..(rank * columns)]);
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
