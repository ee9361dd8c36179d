namespace SorsaOrt.Adapters.Tests;

public sealed class FloatConversionTests
{
    [Theory]
    [InlineData(0x3F800000u, 0x3F80)] // 1
    [InlineData(0x3F808000u, 0x3F80)] // a tie, to even: down
    [InlineData(0x3F818000u, 0x3F82)] // a tie, to even: up
    [InlineData(0x3F808001u, 0x3F81)] // above the tie
    [InlineData(0x7F7FFFFFu, 0x7F80)] // the largest float32 rounds to infinity
    [InlineData(0xFF800000u, 0xFF80)] // -infinity
    [InlineData(0x80000000u, 0x8000)] // -0
    [InlineData(0x00018000u, 0x0002)] // denormals too
    [InlineData(0x7F800001u, 0x7FC0)] // a signalling NaN must not become infinity
    [InlineData(0xFFFFFFFFu, 0xFFFF)] // nor a NaN overflow into 0
    public void BFloat16_RoundsToNearestEven(uint bits, int expected)
    {
        var target = new ushort[1];
        FloatConversion.ToBFloat16([BitConverter.UInt32BitsToSingle(bits)], target);
        Assert.Equal(expected, target[0]);
    }

    [Fact]
    public void BFloat16_RoundTripsEveryPattern()
    {
        var bits = Enumerable.Range(0, 1 << 16).Select(i => (ushort)i).ToArray();
        var values = new float[bits.Length];
        var back = new ushort[bits.Length];
        FloatConversion.FromBFloat16(bits, values);
        FloatConversion.ToBFloat16(values, back);
        Assert.All(bits.Zip(back, values), p => Assert.True(p.First == p.Second || float.IsNaN(p.Third)));
    }

    [Fact]
    public void Half_RoundTripsEveryPatternAndRoundsTiesToEven()
    {
        var halves = Enumerable.Range(0, 1 << 16).Select(i => BitConverter.UInt16BitsToHalf((ushort)i)).ToArray();
        var values = new float[halves.Length];
        var back = new Half[halves.Length];
        FloatConversion.FromHalf(halves, values);
        FloatConversion.ToHalf(values, back);
        Assert.All(halves.Zip(back), p => Assert.True(p.First.Equals(p.Second)));

        // 2048 + 1 and 2048 + 3 lie between float16 neighbours 2 apart; 65520 is the first value to round to infinity.
        var rounded = new Half[4];
        FloatConversion.ToHalf([2049, 2051, 65519, 65520], rounded);
        Assert.Equal([(Half)2048, (Half)2052, Half.MaxValue, Half.PositiveInfinity], rounded);
    }
}
