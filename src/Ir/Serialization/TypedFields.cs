using System.Collections;
using System.Runtime.InteropServices;
using Google.Protobuf.Collections;
using SorsaOrt.Ir.Serialization.Proto;

namespace SorsaOrt.Ir.Serialization;

/// <summary>The fields of <c>TensorProto</c> that hold elements one by one, between the file and the bytes of <c>raw_data</c>.</summary>
internal static class TypedFields
{
    /// <summary>The field that elements of <paramref name="type"/> stand in.</summary>
    public static string FieldOf(ElementType type) => type switch
    {
        ElementType.Float32 or ElementType.Complex64 => "float_data",
        ElementType.Float64 or ElementType.Complex128 => "double_data",
        ElementType.Int64 => "int64_data",
        ElementType.UInt32 or ElementType.UInt64 => "uint64_data",
        ElementType.String => "string_data",
        _ => "int32_data",
    };

    /// <summary>Names of the fields that hold anything.</summary>
    public static IReadOnlyList<string> Present(TensorProto p) =>
        [.. Lists(p).Where(f => f.List.Count > 0).Select(f => f.Name)];

    /// <summary>Number of entries over all fields.</summary>
    public static long ElementsPresent(TensorProto p) => Lists(p).Sum(f => (long)f.List.Count);

    /// <summary>Number of entries for <paramref name="count"/> elements: two for a complex number, one for two 4-bit numbers.</summary>
    public static long ElementsNeeded(ElementType type, long count) => type switch
    {
        ElementType.Complex64 or ElementType.Complex128 => checked(count * 2),
        _ when type.BitSize() == 4 => (count + 1) / 2,
        _ => count,
    };

    /// <summary>The elements as the bytes of <c>raw_data</c>; the field is emptied.</summary>
    public static byte[] Take(TensorProto p, ElementType type, int byteLength)
    {
        var bytes = new byte[byteLength];
        switch (FieldOf(type))
        {
            case "float_data":
                p.FloatData.ToArray().AsSpan().CopyTo(MemoryMarshal.Cast<byte, float>(bytes.AsSpan()));
                p.FloatData.Clear();
                break;
            case "double_data":
                p.DoubleData.ToArray().AsSpan().CopyTo(MemoryMarshal.Cast<byte, double>(bytes.AsSpan()));
                p.DoubleData.Clear();
                break;
            case "int64_data":
                p.Int64Data.ToArray().AsSpan().CopyTo(MemoryMarshal.Cast<byte, long>(bytes.AsSpan()));
                p.Int64Data.Clear();
                break;
            case "uint64_data" when type == ElementType.UInt64:
                p.Uint64Data.ToArray().AsSpan().CopyTo(MemoryMarshal.Cast<byte, ulong>(bytes.AsSpan()));
                p.Uint64Data.Clear();
                break;
            case "uint64_data":
                var words = MemoryMarshal.Cast<byte, uint>(bytes.AsSpan());
                for (var i = 0; i < words.Length; i++)
                    words[i] = p.Uint64Data[i] <= uint.MaxValue ? (uint)p.Uint64Data[i] : throw OutOfRange(p.Uint64Data[i], type);
                p.Uint64Data.Clear();
                break;
            default:
                Narrow(p.Int32Data, type, bytes);
                p.Int32Data.Clear();
                break;
        }
        return bytes;
    }

    /// <summary>The reverse of <see cref="Take"/>.</summary>
    public static void Put(TensorProto p, ElementType type, ReadOnlySpan<byte> bytes)
    {
        switch (FieldOf(type))
        {
            case "float_data":
                p.FloatData.AddRange(MemoryMarshal.Cast<byte, float>(bytes).ToArray());
                break;
            case "double_data":
                p.DoubleData.AddRange(MemoryMarshal.Cast<byte, double>(bytes).ToArray());
                break;
            case "int64_data":
                p.Int64Data.AddRange(MemoryMarshal.Cast<byte, long>(bytes).ToArray());
                break;
            case "uint64_data" when type == ElementType.UInt64:
                p.Uint64Data.AddRange(MemoryMarshal.Cast<byte, ulong>(bytes).ToArray());
                break;
            case "uint64_data":
                p.Uint64Data.AddRange(Array.ConvertAll(MemoryMarshal.Cast<byte, uint>(bytes).ToArray(), v => (ulong)v));
                break;
            default:
                p.Int32Data.AddRange(Widen(type, bytes));
                break;
        }
    }

    private static void Narrow(RepeatedField<int> source, ElementType type, byte[] target)
    {
        var size = Math.Max(1, type.BitSize() / 8);
        var signed = type is ElementType.Int8 or ElementType.Int16 or ElementType.Int32;
        var (low, high) = size switch
        {
            4 => (int.MinValue, int.MaxValue),
            2 => signed ? (short.MinValue, short.MaxValue) : (0, (int)ushort.MaxValue),
            _ => signed ? (sbyte.MinValue, sbyte.MaxValue) : (0, (int)byte.MaxValue),
        };
        for (var i = 0; i < source.Count; i++)
        {
            var value = source[i];
            if (value < low || value > high)
                throw OutOfRange(value, type);
            for (var b = 0; b < size; b++)
                target[i * size + b] = (byte)((value >> (8 * b)) & 0xFF);
        }
    }

    private static int[] Widen(ElementType type, ReadOnlySpan<byte> bytes) => type switch
    {
        ElementType.Int32 => MemoryMarshal.Cast<byte, int>(bytes).ToArray(),
        ElementType.Int16 => Array.ConvertAll(MemoryMarshal.Cast<byte, short>(bytes).ToArray(), v => (int)v),
        ElementType.Int8 => Array.ConvertAll(MemoryMarshal.Cast<byte, sbyte>(bytes).ToArray(), v => (int)v),
        _ when type.BitSize() == 16 => Array.ConvertAll(MemoryMarshal.Cast<byte, ushort>(bytes).ToArray(), v => (int)v),
        _ => Array.ConvertAll(bytes.ToArray(), v => (int)v),
    };

    private static (string Name, IList List)[] Lists(TensorProto p) =>
    [
        ("float_data", p.FloatData), ("int32_data", p.Int32Data), ("string_data", p.StringData),
        ("int64_data", p.Int64Data), ("double_data", p.DoubleData), ("uint64_data", p.Uint64Data),
    ];

    private static ModelFormatException OutOfRange(object value, ElementType type) => new($"the element {value} does not fit {type.ShortName()}");
}
