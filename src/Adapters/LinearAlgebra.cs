namespace SorsaOrt.Adapters;

/// <summary>Dense matrix products and factorisations: Intel MKL where it is found, then OpenBLAS, then managed code.</summary>
/// <remarks>
/// All matrices are row-major. Instances are stateless and safe to call from many threads at once; each call runs on its caller's thread, so
/// that several targets can be decomposed side by side.
/// </remarks>
public abstract class LinearAlgebra
{
    /// <summary>Environment variable that chooses the library: auto, mkl, openblas, managed, or the path of a BLAS/LAPACK library.</summary>
    public const string EnvironmentVariable = "SORSAORT_BLAS";

    private static readonly Lazy<LinearAlgebra> LazyDefault = new(() => Select(Environment.GetEnvironmentVariable(EnvironmentVariable)));

    private protected LinearAlgebra()
    {
    }

    /// <summary>The library this process uses: <see cref="Select"/> of <see cref="EnvironmentVariable"/>, decided once.</summary>
    public static LinearAlgebra Default => LazyDefault.Value;

    /// <summary>Managed code, present everywhere.</summary>
    public static LinearAlgebra Managed { get; } = new ManagedLinearAlgebra();

    /// <summary>"MKL", "OpenBLAS", "managed", or the file name of a library given by path.</summary>
    public abstract string Name { get; }

    /// <summary>The library of that name, loaded; null where it is not installed or lacks a routine.</summary>
    /// <param name="name">mkl, openblas, managed, or the path of a library that exports BLAS and LAPACK (Fortran names, 32-bit integers).</param>
    public static LinearAlgebra? TryLoad(string name) =>
        string.Equals(name, "managed", StringComparison.OrdinalIgnoreCase) ? Managed : NativeLinearAlgebra.TryLoad(name);

    /// <summary>The library asked for, or for null, "" and "auto" the first present of MKL, OpenBLAS and managed code.</summary>
    /// <exception cref="DllNotFoundException">The library asked for by name is not there.</exception>
    public static LinearAlgebra Select(string? name)
    {
        if (string.IsNullOrEmpty(name) || string.Equals(name, "auto", StringComparison.OrdinalIgnoreCase))
            return TryLoad("mkl") ?? TryLoad("openblas") ?? Managed;
        return TryLoad(name) ?? throw new DllNotFoundException(
            $"The linear algebra library '{name}' (from {EnvironmentVariable} or a parameter) was not found or lacks a routine. "
            + "Install it (Debian: libopenblas0), or choose auto or managed.");
    }

    /// <summary>C = op(A)·B, or C += op(A)·B; op(A) [m, k] is A, or Aᵀ with A stored [k, m]; B [k, n], C [m, n].</summary>
    public abstract void Multiply(bool transposeA, int m, int n, int k, ReadOnlySpan<float> a, ReadOnlySpan<float> b, Span<float> c, bool accumulate = false);

    /// <inheritdoc cref="Multiply(bool, int, int, int, ReadOnlySpan{float}, ReadOnlySpan{float}, Span{float}, bool)"/>
    public abstract void Multiply(bool transposeA, int m, int n, int k, ReadOnlySpan<double> a, ReadOnlySpan<double> b, Span<double> c, bool accumulate = false);

    /// <summary>Replaces the columns of Q [rows, columns], rows at least columns, by an orthonormal basis that contains their span.</summary>
    /// <remarks>Through the Gram matrix, three to four times as fast as reflections, where that is safe. Dependent or zero columns still give a complete orthonormal set.</remarks>
    public void Orthonormalize(Span<double> q, int rows, int columns)
    {
        ArgumentOutOfRangeException.ThrowIfNotEqual(q.Length, rows * columns);
        ArgumentOutOfRangeException.ThrowIfLessThan(rows, columns);
        if (!CholeskyBasis.TryOrthonormalize(this, q, rows, columns))
            Reflect(q, rows, columns);
    }

    /// <summary>Thin SVD M = U·diag(s)·Vᵀ with k = min(rows, columns), s descending; M is destroyed.</summary>
    /// <param name="matrix">M [rows, columns].</param>
    /// <param name="rows">Rows of M.</param>
    /// <param name="columns">Columns of M.</param>
    /// <param name="u">U [rows, k], orthonormal columns.</param>
    /// <param name="s">Singular values [k].</param>
    /// <param name="vt">Vᵀ [k, columns], orthonormal rows.</param>
    /// <exception cref="DecompositionException">The iteration did not converge.</exception>
    public abstract void Svd(Span<double> matrix, int rows, int columns, Span<double> u, Span<double> s, Span<double> vt);

    /// <summary>What <see cref="Orthonormalize"/> does, by Householder reflections.</summary>
    private protected abstract void Reflect(Span<double> q, int rows, int columns);

    private protected static void CheckProduct(int m, int n, int k, int a, int b, int c)
    {
        if (m < 0 || n < 0 || k < 0 || a != (long)m * k || b != (long)k * n || c != (long)m * n)
            throw new ArgumentException($"product [{m}, {k}]·[{k}, {n}] was given {a}, {b} and {c} values");
    }
}
