using System.Numerics;
using System.Numerics.Tensors;
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
    private protected override void Reflect(Span<double> q, int rows, int columns)
    {
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

    /// <summary>Eigenvectors [n, count] of a symmetric matrix [n, n] with its largest eigenvalues, as orthonormal columns, largest first.</summary>
    public double[] LeadingEigenvectors(double[] symmetric, int n, int count)
    {
        var vectors = new double[n * n];
        try
        {
            MathNetProvider.EigenDecomp(true, n, symmetric, vectors, new Complex[n], new double[n * n]);
        }
        catch (NonConvergenceException e)
        {
            throw new DecompositionException("the managed eigenvalue decomposition did not converge", e);
        }
        // Column-major and ascending: eigenvector i is row n - 1 - i of the memory.
        var leading = new double[n * count];
        for (var i = 0; i < count; i++)
        {
            for (var j = 0; j < n; j++)
                leading[(j * count) + i] = vectors[((n - 1 - i) * n) + j];
        }
        return leading;
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
        // Some of its thresholds are absolute, so the largest entry is brought near 1; by a power of two, which rounds nothing.
        var largest = Math.Abs(TensorPrimitives.MaxMagnitude<double>(matrix));
        var exponent = largest > 0 ? Math.ILogB(largest) : 0;
        for (var i = 0; i < matrix.Length; i++)
            matrix[i] = Math.ScaleB(matrix[i], -exponent);
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
        for (var i = 0; i < n; i++)
            s[i] = Math.ScaleB(values[i], exponent);
        left.CopyTo(vt);
        right.CopyTo(u);
    }
}
