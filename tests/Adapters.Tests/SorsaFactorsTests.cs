using FsCheck;
using FsCheck.Fluent;
using FsCheck.Xunit;

namespace SorsaOrt.Adapters.Tests;

public sealed class SorsaFactorsTests
{
    private const int Size = 16;

    public static TheoryData<string, string> Degenerate
    {
        get
        {
            var data = new TheoryData<string, string>();
            foreach (var library in new[] { "managed", "openblas", "mkl" })
            {
                foreach (var kind in new[] { "zero", "rank1", "identity", "hilbert", "denormal", "scales", "huge-column", "permutation", "ones", "one-entry" })
                    data.Add(library, kind);
            }
            return data;
        }
    }

    private static float[] DegenerateMatrix(string kind, int rows, int columns)
    {
        var normal = Matrices.Normal(rows * columns, 11);
        return [.. Enumerable.Range(0, rows * columns).Select(n => Entry(n / columns, n % columns, normal[n]))];
        float Entry(int i, int j, float noise) => kind switch
        {
            "zero" => 0,
            "rank1" => (i + 1) * (j - 3.5f),
            "identity" => i == j ? 1 : 0,
            "hilbert" => 1f / (i + j + 1),
            "denormal" => noise * 1e-40f,
            "scales" => noise * (float)Math.Pow(10, -30 + (60.0 * i / (rows - 1))),
            "huge-column" => j == 2 ? (i == 3 ? 3e38f : 1e37f) : noise,
            "permutation" => j == (i * 5) % columns ? -2 : 0,
            "ones" => 1,
            "one-entry" => i == 2 && j == 4 ? float.Epsilon : 0,
            _ => throw new ArgumentException(kind),
        };
    }

    [Theory]
    [MemberData(nameof(Degenerate))]
    public void Decompose_GivesFiniteOrthonormalFactorsForDegenerateMatrices(string libraryName, string kind)
    {
        var library = LinearAlgebraTests.LoadOrSkip(libraryName);
        foreach (var (rows, columns) in new[] { (Size, Size), (Size, 40), (40, Size) })
        {
            foreach (var rank in new[] { 1, 4, Size })
            {
                foreach (var method in new[] { SvdMethod.Exact, SvdMethod.Randomized })
                {
                    var weight = DegenerateMatrix(kind, rows, columns);
                    var f = SorsaFactors.Decompose(weight, rows, columns, false, rank, new SvdOptions { Method = method }, library);
                    AssertSound(f);
                    var wide = Array.ConvertAll(weight, x => (double)x);
                    var norm = Math.Sqrt(wide.Sum(x => x * x));
                    if (rank == Size)
                    {
                        var distance = Math.Sqrt(Matrices.Product(f).Zip(wide, (p, w) => (p - w) * (p - w)).Sum());
                        // 1.4e-45: S itself is rounded to the smallest denormal.
                        Assert.True(distance <= (2e-6 * norm) + (Size * (double)float.Epsilon), $"{kind} [{rows}, {columns}] {method}: {distance:g3} of {norm:g3}");
                    }
                }
            }
        }
    }

    [Theory]
    [InlineData("zero", 0)]
    [InlineData("rank1", 1)]
    [InlineData("ones", 1)]
    [InlineData("identity", Size)]
    public void Decompose_GivesSingularValueZeroInNullDirections(string kind, int expectedRank)
    {
        var f = SorsaFactors.Decompose(DegenerateMatrix(kind, Size, Size), Size, Size, false, Size, null, LinearAlgebra.Managed);
        Assert.Equal(expectedRank, f.S.Count(s => s != 0));
    }

    [Theory]
    [InlineData(float.NaN)]
    [InlineData(float.PositiveInfinity)]
    [InlineData(float.NegativeInfinity)]
    public void Decompose_RefusesValuesThatAreNotFinite(float bad)
    {
        var weight = Matrices.Normal(6 * 10, 1);
        weight[37] = weight[59] = bad;
        var e = Assert.Throws<DecompositionException>(() => SorsaFactors.Decompose(weight, 6, 10, false, 2));
        Assert.Equal((2, 37), (e.NonFiniteCount, e.FirstIndex));
        Assert.Contains("row 3, column 7", e.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Decompose_RefusesSingularValueBeyondFloat32()
    {
        var weight = Enumerable.Repeat(3e38f, 64).ToArray();
        var e = Assert.Throws<DecompositionException>(() => SorsaFactors.Decompose(weight, 8, 8, false, 2));
        Assert.Contains("exceeds float32", e.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(0)]
    [InlineData(7)]
    public void Decompose_RefusesRankOutOfRange(int rank)
    {
        var e = Assert.Throws<DecompositionException>(() => SorsaFactors.Decompose(Matrices.Normal(6 * 10, 1), 6, 10, false, rank));
        Assert.Contains($"rank {rank} is not between 1 and min(out, in) = 6", e.Message, StringComparison.Ordinal);
    }

    [Property(MaxTest = 40)]
    public void Decompose_IsOrthonormalOrderedAndIndependentOfLayout(PositiveInt rows, PositiveInt columns, PositiveInt rank, int seed)
    {
        var (m, n) = (1 + (rows.Get % 48), 1 + (columns.Get % 48));
        var r = 1 + (rank.Get % Math.Min(m, n));
        var weight = Matrices.Normal(m * n, unchecked((ulong)seed));
        var plain = SorsaFactors.Decompose(weight, m, n, false, r);
        var stored = SorsaFactors.Decompose(Matrices.Transpose(weight, m, n), m, n, true, r);
        AssertSound(plain);
        AssertSound(stored);
        Assert.True(Matrices.LargestDifference(plain.S, stored.S) <= 1e-5);
        for (var i = 0; i < r; i++)
            Assert.True(plain.A[(i * n)..((i + 1) * n)].MaxBy(Math.Abs) > 0);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Randomized_FindsTheLeadingSubspaceOfTheExactDecomposition(bool transposed)
    {
        const int Rows = 150, Columns = 220, Rank = 8;
        var s = Enumerable.Range(0, 120).Select(i => 10 * Math.Pow(0.9, i)).ToArray();
        var weight = Matrices.WithSpectrum(Rows, Columns, s, 21);
        var stored = transposed ? Matrices.Transpose(weight, Rows, Columns) : weight;
        var exact = SorsaFactors.Decompose(stored, Rows, Columns, transposed, Rank, new SvdOptions { Method = SvdMethod.Exact });
        var fast = SorsaFactors.Decompose(stored, Rows, Columns, transposed, Rank, new SvdOptions { Method = SvdMethod.Randomized, Seed = 5 });

        Assert.True(Matrices.LargestDifference(exact.S, fast.S) <= 1e-5);
        // Sines of the angles between the row spaces: ‖Aₑ − (Aₑ·Aᵀ)·A‖_F.
        var aExact = Array.ConvertAll(exact.A, x => (double)x);
        var aFast = Array.ConvertAll(fast.A, x => (double)x);
        var overlap = new double[Rank * Rank];
        for (var n = 0; n < overlap.Length; n++)
            overlap[n] = Enumerable.Range(0, Columns).Sum(j => aExact[(n / Rank * Columns) + j] * aFast[(n % Rank * Columns) + j]);
        var projected = new double[aExact.Length];
        LinearAlgebra.Managed.Multiply(false, Rank, Columns, Rank, overlap, aFast, projected);
        Assert.True(Math.Sqrt(aExact.Zip(projected, (x, y) => (x - y) * (x - y)).Sum()) <= 1e-3);
        // What is left over is as small as the best possible, sqrt(sum of the squares of the other singular values).
        var best = Math.Sqrt(s.Skip(Rank).Sum(x => x * x));
        var left = Math.Sqrt(Matrices.Product(fast).Zip(weight, (p, w) => (p - w) * (p - w)).Sum());
        Assert.InRange(left / best, 1 - 1e-5, 1 + 1e-5);
    }

    [Theory]
    [InlineData(130, 200, "slow")]
    [InlineData(200, 130, "slow")]
    [InlineData(140, 140, "fast")]
    [InlineData(140, 150, "zero")]
    [InlineData(150, 140, "rank3")]
    [InlineData(130, 160, "equal")]
    public void Exact_ManagedShortcutThroughGramAgreesWithTheFullSvd(int rows, int columns, string spectrum)
    {
        const int Rank = 12;
        var s = Enumerable.Range(0, 130).Select(i => spectrum switch
        {
            "slow" => Math.Pow(i + 1, -0.3),
            "fast" => 1e20 * Math.Pow(0.2, i),
            "rank3" => i < 3 ? 1e-30 : 0,
            "equal" => 1,
            _ => 0,
        }).ToArray();
        var weight = Matrices.WithSpectrum(rows, columns, s, 31);
        var k = Math.Min(rows, columns);
        double[] full = new double[k], u = new double[rows * k], vt = new double[k * columns];
        LinearAlgebra.Managed.Svd(Array.ConvertAll(weight, x => (double)x), rows, columns, u, full, vt);

        var f = SorsaFactors.Decompose(weight, rows, columns, false, Rank, new SvdOptions { Method = SvdMethod.Exact }, LinearAlgebra.Managed);
        AssertSound(f);
        for (var i = 0; i < Rank; i++)
            Assert.Equal(full[i], f.S[i], (1.2e-7 * full[i]) + (1e-9 * full[0]));
        // The factors are the weight's: B·diag(S)·A leaves exactly the other singular values.
        var rest = Math.Sqrt(full.Skip(Rank).Sum(x => x * x));
        var left = Math.Sqrt(Matrices.Product(f).Zip(weight, (p, w) => (p - w) * (p - w)).Sum());
        Assert.InRange(left, (rest * (1 - 1e-6)) - (1e-6 * full[0]), (rest * (1 + 1e-6)) + (1e-6 * full[0]));
    }

    [Fact]
    public void Randomized_DependsOnTheSeedOnly()
    {
        var weight = Matrices.Normal(80 * 70, 2);
        var one = SorsaFactors.Decompose(weight, 80, 70, false, 4, new SvdOptions { Method = SvdMethod.Randomized, Seed = 1, Iterations = 0, Oversampling = 2 });
        var same = SorsaFactors.Decompose(weight, 80, 70, false, 4, new SvdOptions { Method = SvdMethod.Randomized, Seed = 1, Iterations = 0, Oversampling = 2 });
        var other = SorsaFactors.Decompose(weight, 80, 70, false, 4, new SvdOptions { Method = SvdMethod.Randomized, Seed = 2, Iterations = 0, Oversampling = 2 });
        Assert.Equal(one.A, same.A);
        Assert.Equal(one.B, same.B);
        Assert.NotEqual(one.A, other.A);
    }

    [Theory]
    [InlineData(4096, 4096, 128, true)]
    [InlineData(4096, 11008, 1024, true)]
    [InlineData(4096, 4096, 2048, false)]
    [InlineData(576, 1536, 16, false)]
    [InlineData(64, 172, 8, false)]
    public void Auto_ApproximatesOnlyLargeMatrices(int rows, int columns, int rank, bool randomized) =>
        Assert.Equal(randomized, new SvdOptions().UsesRandomized(rows, columns, rank));

    private static void AssertSound(SorsaFactors f)
    {
        Assert.All(f.A.Concat(f.S).Concat(f.B), x => Assert.True(float.IsFinite(x)));
        Assert.Equal(f.S.OrderDescending(), f.S);
        Assert.True(f.S[^1] >= 0);
        Assert.InRange(Orthonormality.RowDeviation(f.A, f.Rank, f.InFeatures), 0, 1e-6 * f.Rank);
        Assert.InRange(Orthonormality.ColumnDeviation(f.B, f.OutFeatures, f.Rank), 0, 1e-6 * f.Rank);
    }
}
