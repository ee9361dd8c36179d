using SorsaOrt.Export.Gguf;

namespace SorsaOrt.Export.Tests;

/// <summary>Every block format of GGUF against values computed from ggml's definition by a separate program.</summary>
public sealed class BlocksTests
{
    /// <param name="type">The format.</param>
    /// <param name="weighted">Σ (i + 1)·y_i over the block: any element out of place changes it.</param>
    /// <param name="some">Elements 0, 1, 15, 16, 31 of a block of 32, or 0, 17, 40, 77, 100, 131, 190, 255 of 256.</param>
    [Theory]
    [InlineData(GgufType.Q4_0, -3.5, new[] { 0.4375f, 0.0625f, 0.4375f, -0.375f, 0.1875f })]
    [InlineData(GgufType.Q4_1, 558.6875, new[] { 1.3125f, 1.1875f, 1.0625f, 0.5625f, 0.9375f })]
    [InlineData(GgufType.Q5_0, 10.125, new[] { 0.1875f, 0.3125f, -0.3125f, 0.9375f, -0.9375f })]
    [InlineData(GgufType.Q5_1, 866.8125, new[] { 1.5625f, 0.9375f, 0.8125f, 2.1875f, 2.125f })]
    [InlineData(GgufType.Q8_0, 208.0, new[] { 2.9375f, 0.5625f, -4.0625f, -0.0625f, -1.0625f })]
    [InlineData(GgufType.Q2_K, -103156.1875, new[] { -0.4375f, -1.1875f, -1.0f, 1.9375f, -7.5f, -5.4375f, 0.125f, -5.375f })]
    [InlineData(GgufType.Q3_K, 10139.375, new[] { -0.4375f, 5.8125f, -7.75f, 2.375f, -0.0f, 1.5f, 1.25f, 0.625f })]
    [InlineData(GgufType.Q4_K, 155114.0, new[] { -8.1875f, 2.6875f, -8.75f, -1.9375f, 12.75f, -20.1875f, -20.4375f, 9.875f })]
    [InlineData(GgufType.Q5_K, 873688.0, new[] { 20.8125f, 31.6875f, -3.375f, -1.9375f, 72.375f, -15.1875f, 10.4375f, 49.25f })]
    [InlineData(GgufType.Q6_K, 109688.0, new[] { 10.0625f, -94.9375f, 32.9375f, 70.0f, -14.4375f, -49.4375f, 44.6875f, -70.3125f })]
    public void Block_IsDecodedAsDefined(object type, double weighted, float[] some)
    {
        var format = (GgufType)type;
        var values = new float[format.BlockLength()];
        Blocks.Decode(format, Block(format), values);
        int[] places = values.Length == 32 ? [0, 1, 15, 16, 31] : [0, 17, 40, 77, 100, 131, 190, 255];
        Assert.Equal(some, places.Select(p => values[p]));
        Assert.Equal(weighted, values.Select((v, i) => (double)v * (i + 1)).Sum());
    }

    [Fact]
    public void Blocks_FollowOneAnother()
    {
        var block = Block(GgufType.Q4_K);
        float[] one = new float[256], three = new float[768];
        Blocks.Decode(GgufType.Q4_K, block, one);
        Blocks.Decode(GgufType.Q4_K, [.. block, .. block, .. block], three);
        Assert.Equal([.. one, .. one, .. one], three);
    }

    [Fact]
    public void PlainFloats_AreWidenedExactly()
    {
        var values = new float[2];
        Blocks.Decode(GgufType.F16, [0x00, 0x3C, 0x01, 0x00], values);
        Assert.Equal([1f, MathF.Pow(2, -24)], values);
        Blocks.Decode(GgufType.BF16, [0x80, 0x3F, 0x49, 0xC0], values);
        Assert.Equal([1f, -3.140625f], values);
        Blocks.Decode(GgufType.F32, [0, 0, 0x80, 0x3F, 0, 0, 0, 0xC0], values);
        Assert.Equal([1f, -2f], values);
    }

    // Bytes (29k² + 73k + 41) mod 256; the block's scale is 1/16, its offset 1/2, so that every result is exact.
    private static byte[] Block(GgufType type)
    {
        byte[] block = [.. Enumerable.Range(0, type.BlockBytes()).Select(k => unchecked((byte)((k * k * 29) + (k * 73) + 41)))];
        int[] scales = type switch
        {
            GgufType.Q4_1 or GgufType.Q5_1 or GgufType.Q4_K or GgufType.Q5_K => [0, 2],
            GgufType.Q2_K => [80, 82],
            GgufType.Q3_K => [108],
            GgufType.Q6_K => [208],
            _ => [0],
        };
        foreach (var (number, place) in scales.Index())
            BitConverter.TryWriteBytes(block.AsSpan(place), (Half)(number == 0 ? 0.0625f : 0.5f));
        return block;
    }
}
