using MathNet.Numerics;
using MathNet.Numerics.Providers.LinearAlgebra;

namespace SorsaOrt.Adapters;

/// <summary>Factorisations by MathNet.Numerics' managed provider, products by <see cref="MatrixProduct"/>.</summary>
internal sealed class ManagedLinearAlgebra : LinearAlgebra
{
    private static readonly ManagedLinearAlgebraProvider MathNetProvider = ManagedLinearAlgebraProvider.Instance;

    /// <inheritdoc/>
    public override string Name => "managed";

    /// <inheritdoc/>
    public override void Multiply(bool transposeA, int m, int n, int k, ReadOnlySpan<float> a, ReadOnlySpan<float> b, Span<float> c, bool accumulate)
    {
        CheckProduct(m, n, k, a.Length, b.Length, c.Length);
        MatrixProduct.Multiply(transposeA, m, n, k, a, b, c, accumulate);
    }

    /// <inheritdoc/>
    public override void Multiply(bool transposeA, int m, int n, int k, ReadOnlySpan<double> a, ReadOnlySpan<double> b, Span<double> c, bool accumulate)
    {
        CheckProduct(m, n, k, a.Length, b.Length, c.Length);
        MatrixProduct.Multiply(transposeA, m, n, k, a, b, c, accumulate);
    }

    /// <inheritdoc/>
    public override void Orthonormalize(Span<double> q, int rows, int columns)
    {
        ArgumentOutOfRangeException.ThrowIfNotEqual(q.Length, rows * columns);
        ArgumentOutOfRangeException.ThrowIfLessThan(rows, columns);
        var columnMajor = new double[rows * columns];
        MatrixLayout.Transpose(q, rows, columns, columnMajor);
        MathNetProvider.ThinQRFactor(columnMajor, rows, columns, new double[columns * columns], new double[columns]);
        MatrixLayout.Transpose(columnMajor, columns, rows, q);
    }

    /// <inheritdoc/>
    public override void Svd(Span<double> matrix, int rows, int columns, Span<double> u, Span<double> s, Span<double> vt)
    {
        if (rows < columns)
        {
            var transposed = new double[matrix.Length];
            var left = new double[vt.Length];
            var right = new double[u.Length];
            MatrixLayout.Transpose(matrix, rows, columns, transposed);
            TallSvd(transposed, columns, rows, left, s, right);
            MatrixLayout.Transpose(left, columns, rows, vt);
            MatrixLayout.Transpose(right, rows, rows, u);
            return;
        }
        TallSvd(matrix, rows, columns, u, s, vt);
    }

    /// <summary>M = Q·R, then the square R by MathNet, which would otherwise form a full [rows, rows] U.</summary>
    private void TallSvd(Span<double> matrix, int rows, int columns, Span<double> u, Span<double> s, Span<double> vt)
    {
        if (rows == columns)
        {
            SquareSvd(matrix.ToArray(), columns, u, s, vt);
            return;
        }
        var q = matrix.ToArray();
        Orthonormalize(q, rows, columns);
        var r = new double[columns * columns];
        Multiply(true, columns, columns, rows, q, matrix, r, false);
        var inner = new double[columns * columns];
        SquareSvd(r, columns, inner, s, vt);
        Multiply(false, rows, columns, columns, q, inner, u, false);
    }

    private static void SquareSvd(double[] matrix, int n, Span<double> u, Span<double> s, Span<double> vt)
    {
        // MathNet is column-major: it sees the transpose, whose left vectors are our Vᵀ and whose right ones are our U.
        var values = new double[n];
        var left = new double[n * n];
        var right = new double[n * n];
        try
        {
            MathNetProvider.SingularValueDecomposition(true, matrix, n, n, values, left, right);
        }
        catch (NonConvergenceException e)
        {
            throw new DecompositionException("the managed SVD did not converge", e);
        }
        values.CopyTo(s);
        left.CopyTo(vt);
        right.CopyTo(u);
    }
}
