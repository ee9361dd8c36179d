using System.Numerics.Tensors;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace SorsaOrt.Adapters;

/// <summary>float32 to and from the 16-bit formats of weights, rounding to nearest, ties to even; spans of equal length.</summary>
/// <remarks>A value beyond float16 becomes infinite, as in IEEE 754: look with <see cref="NonFinite"/> after a round trip where that matters.</remarks>
public static class FloatConversion
{
    /// <summary>float16 (1 sign, 5 exponent, 10 fraction bits) from float32.</summary>
    public static void ToHalf(ReadOnlySpan<float> source, Span<Half> target) => TensorPrimitives.ConvertToHalf(source, target);

    /// <summary>Values as they are stored in float32, in the machine's byte order.</summary>
    public static byte[] FloatBytes(ReadOnlySpan<float> source) => MemoryMarshal.AsBytes(source).ToArray();

    /// <summary>Values as they are stored in float16.</summary>
    public static byte[] HalfBytes(ReadOnlySpan<float> source)
    {
        var bytes = new byte[checked(source.Length * sizeof(ushort))];
        ToHalf(source, MemoryMarshal.Cast<byte, Half>(bytes.AsSpan()));
        return bytes;
    }

    /// <summary>Values as they are stored in bfloat16.</summary>
    public static byte[] BFloat16Bytes(ReadOnlySpan<float> source)
    {
        var bytes = new byte[checked(source.Length * sizeof(ushort))];
        ToBFloat16(source, MemoryMarshal.Cast<byte, ushort>(bytes.AsSpan()));
        return bytes;
    }

    /// <summary>float32 from float16, exact.</summary>
    public static void FromHalf(ReadOnlySpan<Half> source, Span<float> target) => TensorPrimitives.ConvertToSingle(source, target);

    /// <summary>bfloat16 (the upper 16 bits of a float32) from float32. A NaN stays a NaN, made quiet.</summary>
    public static void ToBFloat16(ReadOnlySpan<float> source, Span<ushort> target)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(target.Length, source.Length);
        for (var i = 0; i < source.Length; i++)
            target[i] = ToBFloat16(source[i]);
    }

    /// <summary>float32 from bfloat16, exact.</summary>
    public static void FromBFloat16(ReadOnlySpan<ushort> source, Span<float> target)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(target.Length, source.Length);
        for (var i = 0; i < source.Length; i++)
            target[i] = BitConverter.UInt32BitsToSingle((uint)source[i] << 16);
    }

    /// <summary>Bits of the bfloat16 nearest to a value.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ushort ToBFloat16(float value)
    {
        var bits = BitConverter.SingleToUInt32Bits(value);
        if (float.IsNaN(value))
            return (ushort)((bits >> 16) | 0x40);
        // Half a unit in the last place kept, less one where that place is even: a tie goes to even.
        return unchecked((ushort)((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16));
    }
}
