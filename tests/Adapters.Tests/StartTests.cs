namespace SorsaOrt.Adapters.Tests;

public sealed class StartTests
{
    [Fact]
    public void Lora_IsKaimingUniformAndZero()
    {
        var f = LoraFactors.Lora(40, 400, 8, seed: 9);
        Assert.All(f.B, x => Assert.Equal(0, x));
        Assert.All(f.A, x => Assert.InRange(x, -0.05f, 0.05f));
        // Uniform in ±1/√400: variance 1/(3·400); 3200 values put the estimate within 10 % at more than 5 deviations.
        Assert.InRange(f.A.Sum(x => (double)x * x) / f.A.Length * 1200, 0.9, 1.1);
        Assert.Equal(f.A, LoraFactors.Lora(40, 400, 8, seed: 9).A);
        Assert.NotEqual(f.A, LoraFactors.Lora(40, 400, 8, seed: 10).A);
    }

    [Theory]
    [InlineData(1)]
    [InlineData(0.5)]
    public void Pissa_ResidualEqualsSorsasForAnyScale(double scale)
    {
        var weight = Matrices.Normal(30 * 25, 3);
        var principal = SorsaFactors.Decompose(weight, 30, 25, false, 5);
        float[] sorsa = new float[weight.Length], pissa = new float[weight.Length];
        Residual.Compute(weight, false, principal, 1, sorsa);
        Residual.Compute(weight, false, LoraFactors.Pissa(principal, scale), scale, pissa);
        Assert.True(Matrices.LargestDifference(sorsa, pissa) <= 5e-6);
    }

    [Fact]
    public void Xoshiro256_GivesItsAuthorsNumbersAndContinuesFromItsState()
    {
        // From the state 1, 2, 3, 4: first outputs of the authors' C code (rotl(2·5, 7)·9 = 11520, then 0, 1509978240, 1215971899390074240).
        var generator = new Xoshiro256((1, 2, 3, 4));
        Assert.Equal([11520UL, 0UL, 1509978240UL, 1215971899390074240UL], Enumerable.Range(0, 4).Select(_ => generator.NextUInt64()));
        var again = new Xoshiro256(generator.State);
        Assert.Equal(generator.NextUInt64(), again.NextUInt64());
        Assert.Throws<ArgumentException>(() => new Xoshiro256(default((ulong, ulong, ulong, ulong))));
        // SplitMix64 from 0 begins with 0xE220A8397B1DCDAF.
        Assert.Equal(0xE220A8397B1DCDAFUL, new Xoshiro256(0).State.S0);
    }

    [Fact]
    public void FillNormal_HasMeanZeroAndVarianceOne()
    {
        var values = Matrices.Normal(100_001, 6);
        var mean = values.Average(x => (double)x);
        Assert.InRange(mean, -0.02, 0.02);
        Assert.InRange(values.Average(x => (x - mean) * (x - mean)), 0.97, 1.03);
    }
}
