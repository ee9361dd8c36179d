using System.Buffers;
using System.Numerics;
using System.Runtime.CompilerServices;

namespace SorsaOrt.Adapters;

/// <summary>Row-major matrix product in portable vector instructions, for machines without a BLAS.</summary>
/// <remarks>
/// The blocking of Goto and van de Geijn (ACM TOMS 34(3), 2008): a block of B and a strip of A are packed, padded with zeros, and one
/// kernel of 4 rows by 3 vectors keeps its sums in registers.
/// </remarks>
internal static unsafe class MatrixProduct
{
    private const int KernelRows = 4;
    private const int KernelVectors = 3;
    private const int BlockDepth = 256;
    private const int BlockPanels = 16;

    /// <summary>C = op(A)·B or C += op(A)·B; shapes as in <see cref="LinearAlgebra"/>.</summary>
    public static void Multiply<T>(bool transposeA, int m, int n, int k, ReadOnlySpan<T> a, ReadOnlySpan<T> b, Span<T> c, bool accumulate)
        where T : unmanaged, INumberBase<T>
    {
        if (!accumulate)
            c.Clear();
        if (m == 0 || n == 0 || k == 0)
            return;
        var width = KernelVectors * Vector<T>.Count;
        var packedB = ArrayPool<T>.Shared.Rent(BlockDepth * BlockPanels * width);
        var packedA = ArrayPool<T>.Shared.Rent(BlockDepth * KernelRows);
        fixed (T* pa = a, pb = b, pc = c, bPanels = packedB, aStrip = packedA)
        {
            for (var k0 = 0; k0 < k; k0 += BlockDepth)
            {
                var depth = Math.Min(BlockDepth, k - k0);
                for (var j0 = 0; j0 < n; j0 += BlockPanels * width)
                {
                    var columns = Math.Min(BlockPanels * width, n - j0);
                    PackB(pb + ((nint)k0 * n) + j0, n, depth, columns, width, bPanels);
                    for (var i0 = 0; i0 < m; i0 += KernelRows)
                    {
                        var rows = Math.Min(KernelRows, m - i0);
                        PackA(pa, transposeA ? 1 : k, transposeA ? m : 1, i0, rows, k0, depth, aStrip);
                        for (var j = 0; j < columns; j += width)
                            Kernel(depth, aStrip, bPanels + ((nint)j * depth), pc + ((nint)i0 * n) + j0 + j, n, rows, Math.Min(width, columns - j));
                    }
                }
            }
        }
        ArrayPool<T>.Shared.Return(packedA);
        ArrayPool<T>.Shared.Return(packedB);
    }

    private static void PackB<T>(T* b, int stride, int depth, int columns, int width, T* panels)
        where T : unmanaged, INumberBase<T>
    {
        for (var j = 0; j < columns; j += width)
        {
            var used = Math.Min(width, columns - j);
            var panel = panels + ((nint)j * depth);
            for (var l = 0; l < depth; l++)
            {
                var row = new Span<T>(panel + ((nint)l * width), width);
                new ReadOnlySpan<T>(b + ((nint)l * stride) + j, used).CopyTo(row);
                row[used..].Clear();
            }
        }
    }

    private static void PackA<T>(T* a, int rowStride, int columnStride, int i0, int rows, int k0, int depth, T* strip)
        where T : unmanaged, INumberBase<T>
    {
        for (var i = 0; i < KernelRows; i++)
        {
            var source = a + ((nint)(i0 + i) * rowStride) + ((nint)k0 * columnStride);
            for (var l = 0; l < depth; l++)
                strip[(l * KernelRows) + i] = i < rows ? source[(nint)l * columnStride] : T.Zero;
        }
    }

    private static void Kernel<T>(int depth, T* a, T* b, T* c, int stride, int rows, int columns)
        where T : unmanaged, INumberBase<T>
    {
        Vector<T> c00 = default, c01 = default, c02 = default, c10 = default, c11 = default, c12 = default;
        Vector<T> c20 = default, c21 = default, c22 = default, c30 = default, c31 = default, c32 = default;
        var lanes = Vector<T>.Count;
        for (var l = 0; l < depth; l++)
        {
            var b0 = Vector.Load(b);
            var b1 = Vector.Load(b + lanes);
            var b2 = Vector.Load(b + lanes + lanes);
            var x = new Vector<T>(a[0]);
            c00 = Fma(x, b0, c00); c01 = Fma(x, b1, c01); c02 = Fma(x, b2, c02);
            x = new Vector<T>(a[1]);
            c10 = Fma(x, b0, c10); c11 = Fma(x, b1, c11); c12 = Fma(x, b2, c12);
            x = new Vector<T>(a[2]);
            c20 = Fma(x, b0, c20); c21 = Fma(x, b1, c21); c22 = Fma(x, b2, c22);
            x = new Vector<T>(a[3]);
            c30 = Fma(x, b0, c30); c31 = Fma(x, b1, c31); c32 = Fma(x, b2, c32);
            a += KernelRows;
            b += KernelVectors * lanes;
        }
        Add(c, columns, c00, c01, c02);
        if (rows > 1)
            Add(c + stride, columns, c10, c11, c12);
        if (rows > 2)
            Add(c + (2 * (nint)stride), columns, c20, c21, c22);
        if (rows > 3)
            Add(c + (3 * (nint)stride), columns, c30, c31, c32);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector<T> Fma<T>(Vector<T> x, Vector<T> y, Vector<T> z)
    {
        if (typeof(T) == typeof(float))
            return Vector.MultiplyAddEstimate(x.As<T, float>(), y.As<T, float>(), z.As<T, float>()).As<float, T>();
        if (typeof(T) == typeof(double))
            return Vector.MultiplyAddEstimate(x.As<T, double>(), y.As<T, double>(), z.As<T, double>()).As<double, T>();
        return (x * y) + z;
    }

    private static void Add<T>(T* c, int columns, Vector<T> v0, Vector<T> v1, Vector<T> v2)
        where T : unmanaged, INumberBase<T>
    {
        var lanes = Vector<T>.Count;
        if (columns == KernelVectors * lanes)
        {
            (Vector.Load(c) + v0).Store(c);
            (Vector.Load(c + lanes) + v1).Store(c + lanes);
            (Vector.Load(c + lanes + lanes) + v2).Store(c + lanes + lanes);
            return;
        }
        for (var j = 0; j < columns; j++)
            c[j] += j < lanes ? v0[j] : j < lanes + lanes ? v1[j - lanes] : v2[j - lanes - lanes];
    }
}
