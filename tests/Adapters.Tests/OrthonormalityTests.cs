namespace SorsaOrt.Adapters.Tests;

public sealed class OrthonormalityTests
{
    [Fact]
    public void Deviation_IsTheFrobeniusNormNotSquared()
    {
        // A·Aᵀ − I = [[3, 2], [2, 0]].
        float[] a = [2, 0, 1, 0];
        Assert.Equal(Math.Sqrt(9 + 4 + 4), Orthonormality.RowDeviation(a, 2, 2), 12);
        Assert.Equal(Math.Sqrt(9 + 4 + 4), Orthonormality.ColumnDeviation(Matrices.Transpose(a, 2, 2), 2, 2), 12);
    }

    [Fact]
    public void Gradient_AgreesWithFiniteDifferences()
    {
        const int Rank = 3, Columns = 7;
        var a = Matrices.Normal(Rank * Columns, 4);
        var gradient = new float[a.Length];
        Orthonormality.RowGradient(a, Rank, Columns, 1, gradient);
        var b = Matrices.Transpose(a, Rank, Columns);
        var columnGradient = new float[a.Length];
        Orthonormality.ColumnGradient(b, Columns, Rank, 1, columnGradient);
        Assert.True(Matrices.LargestDifference(gradient, Matrices.Transpose(columnGradient, Columns, Rank)) <= 1e-6);
        for (var i = 0; i < a.Length; i++)
        {
            const float Step = 1f / 1024;
            var (up, down) = ((float[])a.Clone(), (float[])a.Clone());
            up[i] += Step;
            down[i] -= Step;
            var difference = (Orthonormality.RowDeviation(up, Rank, Columns) - Orthonormality.RowDeviation(down, Rank, Columns)) / ((double)up[i] - down[i]);
            Assert.Equal(difference, gradient[i], 1e-4);
        }
    }

    [Fact]
    public void Gradient_IsZeroWithinTheGuardAndAtTheOrthonormalPoint()
    {
        var weight = Matrices.Normal(30 * 20, 5);
        var f = SorsaFactors.Decompose(weight, 30, 20, false, 8);
        var gradient = Enumerable.Repeat(1f, f.A.Length).ToArray();
        Orthonormality.RowGradient(f.A, 8, 20, 1, gradient);
        Assert.All(gradient, g => Assert.Equal(0, g));

        // The reference's own rule: rounding noise gets a gradient of norm 2, exactly orthonormal rows one of 0 and not NaN.
        Orthonormality.RowGradient(f.A, 8, 20, 1, gradient, guard: 0);
        Assert.Equal(2, Math.Sqrt(gradient.Sum(g => (double)g * g)), 1e-3);
        var exact = new float[4];
        Orthonormality.RowGradient([1, 0, 0, 1], 2, 2, 1, exact, guard: 0);
        Assert.All(exact, g => Assert.Equal(0, g));
    }
}
