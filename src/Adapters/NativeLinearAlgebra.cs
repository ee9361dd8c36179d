using System.Runtime.InteropServices;

namespace SorsaOrt.Adapters;

/// <summary>A BLAS/LAPACK library of the machine, called through its Fortran entry points.</summary>
/// <remarks>
/// The Fortran names (dgemm_, dgesdd_, dgelqf_, dorglq_) rather than CBLAS and LAPACKE, because Debian's and Fedora's OpenBLAS packages leave
/// LAPACKE out. Fortran is column-major: a row-major matrix is passed as its transpose. Every argument goes by address; the lengths of
/// character arguments follow at the end by value, as gfortran and MKL expect or ignore. The library's own threads are set to one.
/// </remarks>
internal sealed unsafe class NativeLinearAlgebra : LinearAlgebra
{
    private static readonly string[] MklNames = ["libmkl_rt.so.2", "libmkl_rt.so.1", "libmkl_rt.so", "mkl_rt.2", "mkl_rt.1", "mkl_rt"];
    private static readonly string[] OpenBlasNames = ["libopenblas.so.0", "libopenblas.so", "libopenblas.0.dylib", "libopenblas"];

    private readonly delegate* unmanaged<byte*, byte*, int*, int*, int*, float*, float*, int*, float*, int*, float*, float*, int*, nuint, nuint, void> _sgemm;
    private readonly delegate* unmanaged<byte*, byte*, int*, int*, int*, double*, double*, int*, double*, int*, double*, double*, int*, nuint, nuint, void> _dgemm;
    private readonly delegate* unmanaged<int*, int*, double*, int*, double*, double*, int*, int*, void> _dgelqf;
    private readonly delegate* unmanaged<int*, int*, int*, double*, int*, double*, double*, int*, int*, void> _dorglq;
    private readonly delegate* unmanaged<byte*, int*, int*, double*, int*, double*, double*, int*, double*, int*, double*, int*, int*, int*, nuint, void> _dgesdd;

    private NativeLinearAlgebra(string name, nint library)
    {
        Name = name;
        _sgemm = (delegate* unmanaged<byte*, byte*, int*, int*, int*, float*, float*, int*, float*, int*, float*, float*, int*, nuint, nuint, void>)NativeLibrary.GetExport(library, "sgemm_");
        _dgemm = (delegate* unmanaged<byte*, byte*, int*, int*, int*, double*, double*, int*, double*, int*, double*, double*, int*, nuint, nuint, void>)NativeLibrary.GetExport(library, "dgemm_");
        _dgelqf = (delegate* unmanaged<int*, int*, double*, int*, double*, double*, int*, int*, void>)NativeLibrary.GetExport(library, "dgelqf_");
        _dorglq = (delegate* unmanaged<int*, int*, int*, double*, int*, double*, double*, int*, int*, void>)NativeLibrary.GetExport(library, "dorglq_");
        _dgesdd = (delegate* unmanaged<byte*, int*, int*, double*, int*, double*, double*, int*, double*, int*, double*, int*, int*, int*, nuint, void>)NativeLibrary.GetExport(library, "dgesdd_");
    }

    /// <inheritdoc/>
    public override string Name { get; }

    /// <summary>The library "mkl", "openblas" or at a path; null where it cannot be loaded or lacks a routine. It stays loaded.</summary>
    public static new LinearAlgebra? TryLoad(string name)
    {
        var (shown, files) = name.ToUpperInvariant() switch
        {
            "MKL" => ("MKL", MklNames),
            "OPENBLAS" => ("OpenBLAS", OpenBlasNames),
            _ => (Path.GetFileName(name), [name]),
        };
        foreach (var file in files)
        {
            if (!NativeLibrary.TryLoad(file, typeof(NativeLinearAlgebra).Assembly, null, out var library))
                continue;
            library = OpenBlasCore.ReloadIfMisdetected(library, file);
            try
            {
                UseOneThread(library);
                return new NativeLinearAlgebra(shown, library);
            }
            catch (EntryPointNotFoundException)
            {
                NativeLibrary.Free(library);
            }
        }
        return null;
    }

    /// <inheritdoc/>
    public override void Multiply(bool transposeA, int m, int n, int k, ReadOnlySpan<float> a, ReadOnlySpan<float> b, Span<float> c, bool accumulate)
    {
        CheckProduct(m, n, k, a.Length, b.Length, c.Length);
        if (m == 0 || n == 0)
            return;
        byte plain = (byte)'N', opA = (byte)(transposeA ? 'T' : 'N');
        float one = 1, beta = accumulate ? 1 : 0;
        int lda = Math.Max(1, transposeA ? m : k);
        fixed (float* pa = a, pb = b, pc = c)
            _sgemm(&plain, &opA, &n, &m, &k, &one, pb, &n, pa, &lda, &beta, pc, &n, 1, 1);
    }

    /// <inheritdoc/>
    public override void Multiply(bool transposeA, int m, int n, int k, ReadOnlySpan<double> a, ReadOnlySpan<double> b, Span<double> c, bool accumulate)
    {
        CheckProduct(m, n, k, a.Length, b.Length, c.Length);
        if (m == 0 || n == 0)
            return;
        byte plain = (byte)'N', opA = (byte)(transposeA ? 'T' : 'N');
        double one = 1, beta = accumulate ? 1 : 0;
        int lda = Math.Max(1, transposeA ? m : k);
        fixed (double* pa = a, pb = b, pc = c)
            _dgemm(&plain, &opA, &n, &m, &k, &one, pb, &n, pa, &lda, &beta, pc, &n, 1, 1);
    }

    /// <inheritdoc/>
    private protected override void Reflect(Span<double> q, int rows, int columns)
    {
        // Row-major [rows, columns] is column-major [columns, rows]: its LQ factorisation leaves orthonormal rows there, our columns.
        var tau = new double[columns];
        int m = columns, n = rows, query = -1, info = 0;
        double size;
        fixed (double* pq = q, ptau = tau)
        {
            _dgelqf(&m, &n, pq, &m, ptau, &size, &query, &info);
            var length = Math.Max(columns, (int)size);
            double second;
            _dorglq(&m, &n, &m, pq, &m, ptau, &second, &query, &info);
            length = Math.Max(length, (int)second);
            var work = new double[length];
            fixed (double* pwork = work)
            {
                _dgelqf(&m, &n, pq, &m, ptau, pwork, &length, &info);
                CheckInfo("dgelqf", info);
                _dorglq(&m, &n, &m, pq, &m, ptau, pwork, &length, &info);
                CheckInfo("dorglq", info);
            }
        }
    }

    /// <inheritdoc/>
    public override void Svd(Span<double> matrix, int rows, int columns, Span<double> u, Span<double> s, Span<double> vt)
    {
        int m = columns, n = rows, k = Math.Min(rows, columns), query = -1, info = 0;
        ArgumentOutOfRangeException.ThrowIfNotEqual(matrix.Length, rows * columns);
        ArgumentOutOfRangeException.ThrowIfNotEqual(u.Length, rows * k);
        ArgumentOutOfRangeException.ThrowIfNotEqual(s.Length, k);
        ArgumentOutOfRangeException.ThrowIfNotEqual(vt.Length, k * columns);
        // Of the transpose that Fortran sees, the left vectors [columns, k] column-major are our Vᵀ row-major, the right ones our U.
        var job = (byte)'S';
        var integers = new int[8 * k];
        double size;
        fixed (double* pa = matrix, pu = u, ps = s, pvt = vt)
        fixed (int* pi = integers)
        {
            _dgesdd(&job, &m, &n, pa, &m, ps, pvt, &m, pu, &k, &size, &query, pi, &info, 1);
            CheckInfo("dgesdd", info);
            var length = checked((int)size);
            var work = new double[length];
            fixed (double* pwork = work)
                _dgesdd(&job, &m, &n, pa, &m, ps, pvt, &m, pu, &k, pwork, &length, pi, &info, 1);
        }
        CheckInfo("dgesdd", info);
    }

    private static void UseOneThread(nint library)
    {
        // MKL: the sequential layer also needs no OpenMP runtime beside it (1 = MKL_THREADING_SEQUENTIAL, 0 = 32-bit integers).
        if (NativeLibrary.TryGetExport(library, "MKL_Set_Threading_Layer", out var layer))
            ((delegate* unmanaged<int, int>)layer)(1);
        if (NativeLibrary.TryGetExport(library, "MKL_Set_Interface_Layer", out var integers))
            ((delegate* unmanaged<int, int>)integers)(0);
        if (NativeLibrary.TryGetExport(library, "openblas_set_num_threads", out var threads))
            ((delegate* unmanaged<int, void>)threads)(1);
    }

    private void CheckInfo(string routine, int info)
    {
        if (info != 0)
            throw new DecompositionException($"{routine} of {Name} ended with info {info} ({(info > 0 ? "it did not converge" : "bad argument")})");
    }
}
