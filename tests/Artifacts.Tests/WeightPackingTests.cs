using Xunit;

namespace SorsaOrt.Artifacts.Tests;

/// <summary>Weights are packed by default where that costs little memory.</summary>
public sealed class WeightPackingTests
{
    [Theory]
    [InlineData(1, true)]
    [InlineData(long.MaxValue / 8, false)]
    public void Default_DependsOnSize(long bytes, bool expected) => Assert.Equal(expected, WeightPacking.IsDefault(bytes));
}
