using System.Runtime.InteropServices;

namespace SorsaOrt.Export.Gguf;

/// <summary>The K-quants: super-blocks of 256 elements with quantised scales for each 16 or 32 of them.</summary>
/// <remarks>Same source as <see cref="Blocks"/>.</remarks>
internal static class SuperBlocks
{
    private const int Length = 256;

    /// <summary>d·s·q − m·t: 16 scale bytes (s low, t high nibble, each for 16 elements), 64 bytes of 2-bit q, d and m f16.</summary>
    public static void Q2(ReadOnlySpan<byte> block, Span<float> y)
    {
        var scales = block[..16];
        var q = block.Slice(16, 64);
        var (d, min) = (Blocks.Scale(block[80..]), Blocks.Scale(block[82..]));
        for (var i = 0; i < Length; i++)
        {
            var scale = scales[i / 16];
            y[i] = (d * (scale & 15) * TwoBits(q, i)) - (min * (scale >> 4));
        }
    }

    /// <summary>d·(s − 32)·(q − 4): 32 bytes of third bits, 64 bytes of 2-bit q, 12 bytes of 6-bit scales, d f16.</summary>
    public static void Q3(ReadOnlySpan<byte> block, Span<float> y)
    {
        var high = block[..32];
        var q = block.Slice(32, 64);
        var packed = block.Slice(96, 12);
        var d = Blocks.Scale(block[108..]);
        for (var i = 0; i < Length; i++)
        {
            // Third bits: bit i / 32 of byte i % 32, set where nothing is to be subtracted.
            var value = TwoBits(q, i) - ((high[i % 32] >> (i / 32) & 1) == 0 ? 4 : 0);
            y[i] = d * (SixBits(packed, i / 16) - 32) * value;
        }
    }

    /// <summary>d·s·q − m·t: d and m f16, 12 bytes of 6-bit s and t (each for 32 elements), 128 bytes of nibbles.</summary>
    public static void Q4(ReadOnlySpan<byte> block, Span<float> y)
    {
        var packed = block.Slice(4, 12);
        var q = block.Slice(16, 128);
        var (d, min) = (Blocks.Scale(block), Blocks.Scale(block[2..]));
        for (var group = 0; group < 8; group++)
        {
            var (scale, offset) = ScaleAndMin(packed, group);
            var (step, m) = (d * scale, min * offset);
            for (var l = 0; l < 32; l++)
                y[(group * 32) + l] = (step * Nibble(q, group, l)) - m;
        }
    }

    /// <summary>As <see cref="Q4"/> with 32 bytes of fifth bits before the nibbles.</summary>
    public static void Q5(ReadOnlySpan<byte> block, Span<float> y)
    {
        var packed = block.Slice(4, 12);
        var high = block.Slice(16, 32);
        var q = block.Slice(48, 128);
        var (d, min) = (Blocks.Scale(block), Blocks.Scale(block[2..]));
        for (var group = 0; group < 8; group++)
        {
            var (scale, offset) = ScaleAndMin(packed, group);
            var (step, m) = (d * scale, min * offset);
            for (var l = 0; l < 32; l++)
                y[(group * 32) + l] = (step * (Nibble(q, group, l) + ((high[l] >> group & 1) << 4))) - m;
        }
    }

    /// <summary>d·s·(q − 32): 128 bytes of low nibbles, 64 bytes of upper two bits, 16 signed scales, d f16.</summary>
    public static void Q6(ReadOnlySpan<byte> block, Span<float> y)
    {
        var low = block[..128];
        var high = block.Slice(128, 64);
        var scales = MemoryMarshal.Cast<byte, sbyte>(block.Slice(192, 16));
        var d = Blocks.Scale(block[208..]);
        for (var i = 0; i < Length; i++)
        {
            // Each half of 128: byte l and l + 32 hold elements l, l + 32 low and l + 64, l + 96 high.
            var (half, quarter, l) = (i / 128, i % 128 / 32, i % 32);
            var nibbles = low[(half * 64) + ((quarter & 1) * 32) + l];
            var value = (quarter < 2 ? nibbles & 15 : nibbles >> 4) | (high[(half * 32) + l] >> (2 * quarter) & 3) << 4;
            y[i] = d * scales[i / 16] * (value - 32);
        }
    }

    /// <summary>Element i of 256 two-bit numbers: each half of 128 is in 32 bytes, four planes of 32 in each.</summary>
    private static int TwoBits(ReadOnlySpan<byte> q, int i) => q[(i / 128 * 32) + (i % 32)] >> (i % 128 / 32 * 2) & 3;

    /// <summary>Groups of 32 in pairs: 32 bytes hold one group in the low and the next in the high nibbles.</summary>
    private static int Nibble(ReadOnlySpan<byte> q, int group, int l) => q[(group / 2 * 32) + l] >> (group % 2 * 4) & 15;

    /// <summary>Scale i of Q3_K: low four bits in 8 bytes (0 to 7 low, 8 to 15 high nibbles), upper two in the last four bytes.</summary>
    private static int SixBits(ReadOnlySpan<byte> packed, int i) =>
        (packed[i % 8] >> (i / 8 * 4) & 15) | (packed[8 + (i % 4)] >> (i / 4 * 2) & 3) << 4;

    /// <summary>Scale and minimum of group j of Q4_K and Q5_K: 6 bits each; those of groups 4 to 7 are in pieces.</summary>
    private static (int Scale, int Min) ScaleAndMin(ReadOnlySpan<byte> packed, int j) => j < 4
        ? (packed[j] & 63, packed[j + 4] & 63)
        : (packed[j + 4] & 15 | packed[j - 4] >> 6 << 4, packed[j + 4] >> 4 | packed[j] >> 6 << 4);
}
