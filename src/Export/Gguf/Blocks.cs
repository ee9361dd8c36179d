using System.Buffers.Binary;
using System.Numerics.Tensors;
using System.Runtime.InteropServices;

namespace SorsaOrt.Export.Gguf;

/// <summary>Dequantises GGUF data to float32 as ggml defines it, in its order of operations.</summary>
/// <remarks>Source: github.com/ggml-org/llama.cpp, ggml/src/ggml-quants.c, dequantize_row_*; layouts in ggml-common.h.</remarks>
internal static class Blocks
{
    /// <summary>Decodes whole blocks.</summary>
    /// <param name="type">How <paramref name="source"/> is stored.</param>
    /// <param name="source">Blocks one after the other.</param>
    /// <param name="target">Their elements: BlockLength of them for every BlockBytes.</param>
    public static void Decode(GgufType type, ReadOnlySpan<byte> source, Span<float> target)
    {
        switch (type)
        {
            case GgufType.F32:
                source.CopyTo(MemoryMarshal.AsBytes(target));
                return;
            case GgufType.F16:
                TensorPrimitives.ConvertToSingle(MemoryMarshal.Cast<byte, Half>(source), target);
                return;
            case GgufType.BF16:
                Adapters.FloatConversion.FromBFloat16(MemoryMarshal.Cast<byte, ushort>(source), target);
                return;
        }
        var (bytes, length) = (type.BlockBytes(), type.BlockLength());
        for (; !target.IsEmpty; source = source[bytes..], target = target[length..])
        {
            var block = source[..bytes];
            var values = target[..length];
            switch (type)
            {
                case GgufType.Q4_0: Q4_0(block, values); break;
                case GgufType.Q4_1: Q4_1(block, values); break;
                case GgufType.Q5_0: Q5_0(block, values); break;
                case GgufType.Q5_1: Q5_1(block, values); break;
                case GgufType.Q8_0: Q8_0(block, values); break;
                case GgufType.Q2_K: SuperBlocks.Q2(block, values); break;
                case GgufType.Q3_K: SuperBlocks.Q3(block, values); break;
                case GgufType.Q4_K: SuperBlocks.Q4(block, values); break;
                case GgufType.Q5_K: SuperBlocks.Q5(block, values); break;
                default: SuperBlocks.Q6(block, values); break;
            }
        }
    }

    /// <summary>A float16 at the start of <paramref name="bytes"/>.</summary>
    internal static float Scale(ReadOnlySpan<byte> bytes) => (float)BinaryPrimitives.ReadHalfLittleEndian(bytes);

    /// <summary>d·(q − 8): d f16, 16 bytes; low nibbles are the first half of the block, high ones the second.</summary>
    private static void Q4_0(ReadOnlySpan<byte> block, Span<float> y)
    {
        var q = block[2..];
        var d = Scale(block);
        for (var j = 0; j < 16; j++)
        {
            y[j] = ((q[j] & 15) - 8) * d;
            y[j + 16] = ((q[j] >> 4) - 8) * d;
        }
    }

    /// <summary>d·q + m: d and m f16, 16 bytes of nibbles.</summary>
    private static void Q4_1(ReadOnlySpan<byte> block, Span<float> y)
    {
        var q = block[4..];
        var (d, m) = (Scale(block), Scale(block[2..]));
        for (var j = 0; j < 16; j++)
        {
            y[j] = ((q[j] & 15) * d) + m;
            y[j + 16] = ((q[j] >> 4) * d) + m;
        }
    }

    /// <summary>d·(q − 16): d f16, 32 fifth bits, 16 bytes of nibbles.</summary>
    private static void Q5_0(ReadOnlySpan<byte> block, Span<float> y)
    {
        var q = block[6..];
        var (d, high) = (Scale(block), BinaryPrimitives.ReadUInt32LittleEndian(block[2..]));
        for (var j = 0; j < 16; j++)
        {
            y[j] = ((q[j] & 15 | Fifth(high, j)) - 16) * d;
            y[j + 16] = ((q[j] >> 4 | Fifth(high, j + 16)) - 16) * d;
        }
    }

    /// <summary>d·q + m: d and m f16, 32 fifth bits, 16 bytes of nibbles.</summary>
    private static void Q5_1(ReadOnlySpan<byte> block, Span<float> y)
    {
        var q = block[8..];
        var (d, m, high) = (Scale(block), Scale(block[2..]), BinaryPrimitives.ReadUInt32LittleEndian(block[4..]));
        for (var j = 0; j < 16; j++)
        {
            y[j] = ((q[j] & 15 | Fifth(high, j)) * d) + m;
            y[j + 16] = ((q[j] >> 4 | Fifth(high, j + 16)) * d) + m;
        }
    }

    /// <summary>d·q: d f16, 32 signed bytes.</summary>
    private static void Q8_0(ReadOnlySpan<byte> block, Span<float> y)
    {
        var q = MemoryMarshal.Cast<byte, sbyte>(block[2..]);
        var d = Scale(block);
        for (var j = 0; j < 32; j++)
            y[j] = q[j] * d;
    }

    private static int Fifth(uint high, int index) => (int)(high >> index & 1) << 4;
}
