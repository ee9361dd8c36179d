using FsCheck.Xunit;
using Xunit;

namespace SorsaOrt.Report.Tests;

public class CurveTests
{
    private static Curve Over(double[] values) => new([.. values.Select((_, i) => (double)i)], values);

    [Theory]
    [InlineData(1)]
    [InlineData(79)]
    [InlineData(400)]
    public void Smoothed_LeavesAStraightLineAsItIs(int length)
    {
        var line = Over([.. Enumerable.Range(0, length).Select(i => 3 - 0.25 * i)]);
        Assert.All(line.Smoothed().Values.Zip(line.Values), p => Assert.Equal(p.Second, p.First, 1e-9));
    }

    [Fact]
    public void Smoothed_DampsNoiseWithoutMovingItsMean()
    {
        var noisy = Over([.. Enumerable.Range(0, 400).Select(i => i % 2 == 0 ? 1.0 : -1.0)]);
        Assert.All(noisy.Smoothed().Values.Skip(20).SkipLast(20), v => Assert.InRange(v, -0.1, 0.1));
    }

    [Property]
    public void Thinned_KeepsEndsAndExtremesWithinTheLimit(double[] raw)
    {
        double[] values = [.. raw.Where(double.IsFinite), 1, -1, 0.5];
        var longer = Over([.. Enumerable.Range(0, 40).SelectMany(_ => values)]);
        var thin = longer.Thinned(60);
        Assert.InRange(thin.Steps.Length, 2, 60);
        Assert.Equal((longer.Steps[0], longer.Steps[^1]), (thin.Steps[0], thin.Steps[^1]));
        Assert.Equal((longer.Values.Min(), longer.Values.Max()), (thin.Values.Min(), thin.Values.Max()));
        Assert.All(thin.Steps.Zip(thin.Values), p => Assert.Equal(longer.Values[(int)p.First], p.Second));
    }
}
