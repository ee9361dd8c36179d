namespace SorsaOrt.Adapters.Tests;

/// <summary>The difference of two adapters as singular triples of its own.</summary>
public sealed class WeightDeltaTests
{
    [Theory]
    [InlineData(40, 30, 4)]
    [InlineData(30, 40, 4)]
    [InlineData(9, 40, 6)] // 2r is more than min(out, in): the product itself is decomposed
    [InlineData(12, 12, 6)]
    public void Triples_AreOrthonormal_Descending_AndMultiplyToTheDifference(int rows, int columns, int rank)
    {
        const double Scale = 0.5;
        var start = SorsaFactors.Decompose(Matrices.Normal(rows * columns, 1), rows, columns, false, rank);
        var trained = start with { A = Moved(start.A, 2), S = Moved(start.S, 3), B = Moved(start.B, 4) };
        var delta = WeightDelta.Between(trained, start, Scale);
        Assert.Equal(Math.Min(2 * rank, Math.Min(rows, columns)), delta.Rank);
        Assert.Equal(delta.S.OrderDescending(), delta.S);
        Assert.InRange(Orthonormality.RowDeviation(delta.A, delta.Rank, columns), 0, 1e-6 * delta.Rank);
        Assert.InRange(Orthonormality.ColumnDeviation(delta.B, rows, delta.Rank), 0, 1e-6 * delta.Rank);
        var (before, after, difference) = (Matrices.Product(start), Matrices.Product(trained), Matrices.Product(delta));
        for (var i = 0; i < difference.Length; i++)
            Assert.Equal(Scale * (after[i] - before[i]), difference[i], 1e-7);
    }

    [Fact]
    public void NothingTrained_IsNoDifference()
    {
        var start = SorsaFactors.Decompose(Matrices.Normal(20 * 10, 5), 20, 10, false, 3);
        Assert.All(WeightDelta.Between(start, start, 1).S, s => Assert.Equal(0, s, 1e-12f));
    }

    [Fact]
    public void WithoutAStart_IsTheAdapterItself()
    {
        var adapter = SorsaFactors.Decompose(Matrices.Normal(20 * 10, 6), 20, 10, false, 3);
        var delta = WeightDelta.Between(adapter, null, 2);
        Assert.Equal(3, delta.Rank);
        Assert.All(adapter.S.Zip(delta.S), s => Assert.Equal(2 * s.First, s.Second, 1e-5f));
    }

    private static float[] Moved(float[] values, ulong seed) => [.. values.Zip(Matrices.Normal(values.Length, seed), (v, n) => v + (0.01f * n))];
}
