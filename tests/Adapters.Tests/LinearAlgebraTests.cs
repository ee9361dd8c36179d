namespace SorsaOrt.Adapters.Tests;

public sealed class LinearAlgebraTests
{
    public static TheoryData<string> Libraries => ["managed", "openblas", "mkl"];

    internal static LinearAlgebra LoadOrSkip(string name)
    {
        var library = LinearAlgebra.TryLoad(name);
        Assert.SkipWhen(library is null, $"{name} is not installed here");
        return library!;
    }

    [Theory]
    [MemberData(nameof(Libraries))]
    public void Multiply_AgreesWithPlainLoops(string name)
    {
        var library = LoadOrSkip(name);
        foreach (var (m, n, k) in new[] { (1, 1, 1), (3, 5, 7), (4, 24, 256), (9, 50, 513), (17, 400, 300), (5, 3, 0) })
        {
            foreach (var transposeA in new[] { false, true })
            {
                var a = Matrices.Normal(m * k, 1);
                var b = Matrices.Normal(k * n, 2);
                var expected = new double[m * n];
                for (var i = 0; i < m; i++)
                {
                    for (var j = 0; j < n; j++)
                        expected[(i * n) + j] = 1 + Enumerable.Range(0, k).Sum(l => (double)a[transposeA ? (l * m) + i : (i * k) + l] * b[(l * n) + j]);
                }
                var wide = Enumerable.Repeat(1.0, m * n).ToArray();
                var narrow = Enumerable.Repeat(1f, m * n).ToArray();
                library.Multiply(transposeA, m, n, k, Array.ConvertAll(a, x => (double)x), Array.ConvertAll(b, x => (double)x), wide, accumulate: true);
                library.Multiply(transposeA, m, n, k, a, b, narrow, accumulate: true);
                Assert.All(expected.Zip(wide), p => Assert.Equal(p.First, p.Second, 1e-11));
                Assert.All(expected.Zip(narrow), p => Assert.Equal(p.First, p.Second, 1e-3));

                library.Multiply(transposeA, m, n, k, a, b, narrow);
                Assert.All(expected.Zip(narrow), p => Assert.Equal(p.First - 1, p.Second, 1e-3));
            }
        }
    }

    [Theory]
    [MemberData(nameof(Libraries))]
    public void Orthonormalize_CompletesDependentColumns(string name)
    {
        var library = LoadOrSkip(name);
        const int Rows = 40, Columns = 12;
        var q = Array.ConvertAll(Matrices.Normal(Rows * Columns, 3), x => (double)x);
        for (var i = 0; i < Rows; i++)
        {
            q[(i * Columns) + 5] = 0;
            q[(i * Columns) + 7] = q[i * Columns];
        }
        var columns = (double[])q.Clone();
        library.Orthonormalize(q, Rows, Columns);

        var gram = new double[Columns * Columns];
        LinearAlgebra.Managed.Multiply(true, Columns, Columns, Rows, q, q, gram);
        for (var i = 0; i < Columns * Columns; i++)
            Assert.Equal(i % (Columns + 1) == 0 ? 1 : 0, gram[i], 1e-13);
        // Each column given lies in the span: projecting it changes nothing.
        var coordinates = new double[Columns * Columns];
        var projected = new double[Rows * Columns];
        LinearAlgebra.Managed.Multiply(true, Columns, Columns, Rows, q, columns, coordinates);
        LinearAlgebra.Managed.Multiply(false, Rows, Columns, Columns, q, coordinates, projected);
        Assert.All(columns.Zip(projected), p => Assert.Equal(p.First, p.Second, 1e-12));
    }

    [Theory]
    [InlineData("openblas", 30, 70)]
    [InlineData("openblas", 70, 30)]
    [InlineData("mkl", 70, 30)]
    [InlineData("managed", 70, 30)]
    [InlineData("managed", 30, 70)]
    [InlineData("managed", 1, 5)]
    public void Svd_ReconstructsAndAgreesWithManaged(string name, int rows, int columns)
    {
        var library = LoadOrSkip(name);
        var k = Math.Min(rows, columns);
        var matrix = Array.ConvertAll(Matrices.Normal(rows * columns, 4), x => (double)x);
        double[] u = new double[rows * k], s = new double[k], vt = new double[k * columns];
        double[] u2 = new double[rows * k], s2 = new double[k], vt2 = new double[k * columns];
        library.Svd((double[])matrix.Clone(), rows, columns, u, s, vt);
        LinearAlgebra.Managed.Svd((double[])matrix.Clone(), rows, columns, u2, s2, vt2);

        Assert.Equal(s.OrderDescending(), s);
        Assert.All(s.Zip(s2), p => Assert.Equal(p.First, p.Second, 1e-12));
        for (var i = 0; i < rows; i++)
        {
            for (var p = 0; p < k; p++)
                u[(i * k) + p] *= s[p];
        }
        var product = new double[rows * columns];
        LinearAlgebra.Managed.Multiply(false, rows, columns, k, u, vt, product);
        Assert.All(matrix.Zip(product), p => Assert.Equal(p.First, p.Second, 1e-12));
    }

    [Fact]
    public void Select_RefusesAbsentLibraryByName()
    {
        var e = Assert.Throws<DllNotFoundException>(() => LinearAlgebra.Select("libno-such-blas.so"));
        Assert.Contains("libno-such-blas.so", e.Message, StringComparison.Ordinal);
        Assert.Equal("managed", LinearAlgebra.Select("MANAGED").Name);
        Assert.NotEmpty(LinearAlgebra.Select("auto").Name);
    }

    [Theory]
    [MemberData(nameof(Libraries))]
    public void Decompose_GivesTheSameBitsFromManyThreads(string name)
    {
        var library = LoadOrSkip(name);
        var weight = Matrices.Normal(60 * 90, 8);
        var options = new SvdOptions { Method = SvdMethod.Randomized };
        var first = SorsaFactors.Decompose(weight, 60, 90, false, 8, options, library);
        var others = new SorsaFactors[8];
        Parallel.For(0, others.Length, i => others[i] = SorsaFactors.Decompose(weight, 60, 90, false, 8, options, library));
        Assert.All(others, f =>
        {
            Assert.Equal(first.A, f.A);
            Assert.Equal(first.S, f.S);
            Assert.Equal(first.B, f.B);
        });
    }
}
