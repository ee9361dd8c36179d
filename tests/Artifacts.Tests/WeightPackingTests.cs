using Xunit;

namespace SorsaOrt.Artifacts.Tests;

/// <summary>Weights are packed by default where that costs little memory, and not where memory was to be saved.</summary>
public sealed class WeightPackingTests
{
    [Theory]
    [InlineData(Recomputation.None, 1, true)]
    [InlineData(Recomputation.None, long.MaxValue / 8, false)]
    [InlineData(Recomputation.Layer, 1, false)]
    public void Default_DependsOnSizeAndRecomputation(Recomputation recompute, long bytes, bool expected) =>
        Assert.Equal(expected, WeightPacking.IsDefault(recompute, bytes));
}
