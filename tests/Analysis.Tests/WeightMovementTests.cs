using SorsaOrt.Adapters;
using Xunit;

namespace SorsaOrt.Analysis.Tests;

public class WeightMovementTests
{
    // A diagonal weight [4, 6] with distinct singular values, its right vectors 0 and 1 turned by an angle.
    private static SorsaFactors Turned(double angle, params float[] sigma)
    {
        var weight = new float[4 * 6];
        var (cos, sin) = ((float)Math.Cos(angle), (float)Math.Sin(angle));
        for (var i = 0; i < 4; i++)
            weight[i * 6 + i] = sigma[i];
        (weight[0], weight[1]) = (sigma[0] * cos, sigma[0] * sin);
        (weight[6], weight[7]) = (-sigma[1] * sin, sigma[1] * cos);
        return SorsaFactors.Decompose(weight, 4, 6, transposed: false, 4, new SvdOptions { Method = SvdMethod.Exact });
    }

    [Fact]
    public void Between_OfAWeightAndItselfIsNothing()
    {
        var factors = Turned(0.3, 8, 5, 3, 1);
        var movement = WeightMovement.Between(factors, factors);
        Assert.Equal(0, movement.MeanSigma);
        Assert.InRange(movement.Directions, 0, 1e-6);
    }

    [Theory]
    [InlineData(0.1)]
    [InlineData(0.7)]
    public void Between_CountsTheTurnOfEachVector(double angle)
    {
        // Two of four right vectors turn; no left one does.
        var expected = 1 - (4 + 2 + 2 * Math.Cos(angle)) / 8;
        var movement = WeightMovement.Between(Turned(0, 8, 5, 3, 1), Turned(angle, 8, 5, 3, 1));
        Assert.Equal(0, movement.MeanSigma, 1e-6);
        Assert.Equal(expected, movement.Directions, 1e-6);
    }

    [Fact]
    public void Between_AveragesTheChangeOfTheSingularValuesInOrder()
    {
        var movement = WeightMovement.Between(Turned(0, 8, 5, 3, 1), Turned(0, 8.5f, 4, 3, 1.25f));
        Assert.Equal((0.5 + 1 + 0.25) / 4, movement.MeanSigma, 1e-6);
        Assert.Equal(0, movement.Directions, 1e-6);
    }

    [Fact]
    public void Between_RefusesOtherShapes() =>
        Assert.Throws<ArgumentException>(() => WeightMovement.Between(Turned(0, 8, 5, 3, 1), new SorsaFactors(1, 4, 6, new float[6], [1], new float[4])));
}
