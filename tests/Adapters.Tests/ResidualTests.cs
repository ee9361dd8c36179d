using FsCheck;
using FsCheck.Xunit;

namespace SorsaOrt.Adapters.Tests;

public sealed class ResidualTests
{
    [Property(MaxTest = 40)]
    public void FoldOfResidual_IsTheWeight(PositiveInt rows, PositiveInt columns, PositiveInt rank, bool transposed, int seed)
    {
        var (m, n) = (1 + (rows.Get % 40), 1 + (columns.Get % 40));
        var r = 1 + (rank.Get % Math.Min(m, n));
        var scale = 0.5 + (Math.Abs((long)seed) % 3);
        var weight = Matrices.Normal(m * n, unchecked((ulong)seed));
        var factors = SorsaFactors.Decompose(weight, m, n, transposed, r);
        var values = new float[weight.Length];
        Residual.Compute(weight, transposed, factors, scale, values);
        // In place: source and target may be the same memory.
        Residual.Fold(values, transposed, factors, scale, values);
        // Two roundings, of Wr and of W, each half a unit in the last place.
        var largest = scale * factors.S[0];
        Assert.True(Matrices.LargestDifference(weight, values) <= Math.Pow(2, -23) * (largest + 1));
    }

    [Theory]
    [InlineData(false, "managed")]
    [InlineData(true, "managed")]
    [InlineData(false, "openblas")]
    [InlineData(true, "openblas")]
    [InlineData(true, "mkl")]
    public void Compute_SubtractsInFloat64AndRoundsOnce(bool transposed, string libraryName)
    {
        var library = LinearAlgebraTests.LoadOrSkip(libraryName);
        const int Out = 70, In = 45, Rank = 6;
        var weight = Matrices.Normal(Out * In, 1);
        var stored = transposed ? Matrices.Transpose(weight, Out, In) : weight;
        var factors = SorsaFactors.Decompose(stored, Out, In, transposed, Rank);
        var residual = new float[weight.Length];
        Residual.Compute(stored, transposed, factors, 0.25, residual, library);
        if (transposed)
            residual = Matrices.Transpose(residual, In, Out);
        var product = Matrices.Product(factors);
        for (var i = 0; i < weight.Length; i++)
        {
            var exact = weight[i] - (0.25 * product[i]);
            Assert.True(Math.Abs(residual[i] - exact) <= (0.5001 * Math.Abs(MathF.BitIncrement((float)exact) - (float)exact)) + 1e-14);
        }
    }

    [Fact]
    public void Compute_WorksOnManyTiles()
    {
        const int Out = 3, In = 200_000;
        var weight = Matrices.Normal(Out * In, 1);
        var factors = new SorsaFactors(1, Out, In, Matrices.Normal(In, 2), [2], [1, 2, 3]);
        var residual = new float[weight.Length];
        Residual.Compute(weight, false, factors, 1, residual);
        for (var i = 0; i < weight.Length; i += 997)
            Assert.Equal((float)(weight[i] - (2.0 * (1 + (i / In)) * factors.A[i % In])), residual[i]);
    }

    [Fact]
    public void Compute_TwoFactorAdapterHasSingularValuesOfOne()
    {
        var weight = Matrices.Normal(12 * 9, 1);
        var two = new LoraFactors(3, 12, 9, Matrices.Normal(3 * 9, 2), Matrices.Normal(12 * 3, 3));
        var three = new SorsaFactors(3, 12, 9, two.A, [1, 1, 1], two.B);
        float[] expected = new float[weight.Length], actual = new float[weight.Length];
        Residual.Compute(weight, true, three, 2, expected);
        Residual.Compute(weight, true, two, 2, actual);
        Assert.Equal(expected, actual);
        Residual.Fold(actual, true, two, 2, actual);
        Assert.True(Matrices.LargestDifference(weight, actual) <= 1e-5);
    }

    [Fact]
    public void Fold_RefusesOverflow()
    {
        var factors = new SorsaFactors(1, 2, 2, [1, 0], [3e38f], [1, 1]);
        var e = Assert.Throws<DecompositionException>(() => Residual.Fold([0, 0, 3e38f, 0], false, factors, 1, new float[4]));
        Assert.Equal((1, 2), (e.NonFiniteCount, e.FirstIndex));
        Assert.Contains("the folded weight", e.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Compute_HoldsAt3e38()
    {
        float[] weight = [3e38f, 0, 0, -3e38f];
        var factors = SorsaFactors.Decompose(weight, 2, 2, false, 1);
        var residual = new float[4];
        Residual.Compute(weight, false, factors, 1, residual);
        Residual.Fold(residual, false, factors, 1, residual);
        Assert.Equal(weight, residual);
    }
}
