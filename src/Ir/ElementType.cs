namespace SorsaOrt.Ir;

/// <summary>Element types of ONNX tensors, with the numbers of <c>TensorProto.DataType</c>.</summary>
public enum ElementType
{
    /// <summary>Not stated.</summary>
    Undefined = 0,
    /// <summary>32-bit IEEE float.</summary>
    Float32 = 1,
    /// <summary>Unsigned 8-bit integer.</summary>
    UInt8 = 2,
    /// <summary>Signed 8-bit integer.</summary>
    Int8 = 3,
    /// <summary>Unsigned 16-bit integer.</summary>
    UInt16 = 4,
    /// <summary>Signed 16-bit integer.</summary>
    Int16 = 5,
    /// <summary>Signed 32-bit integer.</summary>
    Int32 = 6,
    /// <summary>Signed 64-bit integer.</summary>
    Int64 = 7,
    /// <summary>UTF-8 text; has no fixed size.</summary>
    String = 8,
    /// <summary>One byte, 0 or 1.</summary>
    Bool = 9,
    /// <summary>16-bit IEEE float.</summary>
    Float16 = 10,
    /// <summary>64-bit IEEE float.</summary>
    Float64 = 11,
    /// <summary>Unsigned 32-bit integer.</summary>
    UInt32 = 12,
    /// <summary>Unsigned 64-bit integer.</summary>
    UInt64 = 13,
    /// <summary>Pair of 32-bit floats.</summary>
    Complex64 = 14,
    /// <summary>Pair of 64-bit floats.</summary>
    Complex128 = 15,
    /// <summary>Upper half of a 32-bit float.</summary>
    BFloat16 = 16,
    /// <summary>8-bit float, 4 exponent bits, no infinities.</summary>
    Float8E4M3FN = 17,
    /// <summary>8-bit float, 4 exponent bits, no infinities, no negative zero.</summary>
    Float8E4M3FNUZ = 18,
    /// <summary>8-bit float, 5 exponent bits.</summary>
    Float8E5M2 = 19,
    /// <summary>8-bit float, 5 exponent bits, no infinities, no negative zero.</summary>
    Float8E5M2FNUZ = 20,
    /// <summary>Unsigned 4-bit integer, two in a byte.</summary>
    UInt4 = 21,
    /// <summary>Signed 4-bit integer, two in a byte.</summary>
    Int4 = 22,
    /// <summary>4-bit float, two in a byte.</summary>
    Float4E2M1 = 23,
}

/// <summary>Sizes and kinds of element types.</summary>
public static class ElementTypes
{
    /// <summary>Bits that one element takes in <c>raw_data</c>; 0 where there is no fixed size (strings, undefined).</summary>
    public static int BitSize(this ElementType type) => type switch
    {
        ElementType.UInt4 or ElementType.Int4 or ElementType.Float4E2M1 => 4,
        ElementType.UInt8 or ElementType.Int8 or ElementType.Bool or ElementType.Float8E4M3FN or ElementType.Float8E4M3FNUZ
            or ElementType.Float8E5M2 or ElementType.Float8E5M2FNUZ => 8,
        ElementType.UInt16 or ElementType.Int16 or ElementType.Float16 or ElementType.BFloat16 => 16,
        ElementType.Float32 or ElementType.Int32 or ElementType.UInt32 => 32,
        ElementType.Float64 or ElementType.Int64 or ElementType.UInt64 or ElementType.Complex64 => 64,
        ElementType.Complex128 => 128,
        _ => 0,
    };

    /// <summary>Bytes that <paramref name="count"/> elements take in <c>raw_data</c>; 4-bit elements are packed two to a byte.</summary>
    public static long ByteSize(this ElementType type, long count) => (count * type.BitSize() + 7) / 8;

    /// <summary>True for the floating-point types that gradients can flow through.</summary>
    public static bool IsFloat(this ElementType type) =>
        type is ElementType.Float32 or ElementType.Float64 or ElementType.Float16 or ElementType.BFloat16;

    /// <summary>The name ONNX's text form uses: <c>f32</c>, <c>i64</c>, …</summary>
    public static string ShortName(this ElementType type) => type switch
    {
        ElementType.Float32 => "f32",
        ElementType.Float64 => "f64",
        ElementType.Float16 => "f16",
        ElementType.BFloat16 => "bf16",
        ElementType.Int64 => "i64",
        ElementType.Int32 => "i32",
        ElementType.Int16 => "i16",
        ElementType.Int8 => "i8",
        ElementType.Int4 => "i4",
        ElementType.UInt64 => "u64",
        ElementType.UInt32 => "u32",
        ElementType.UInt16 => "u16",
        ElementType.UInt8 => "u8",
        ElementType.UInt4 => "u4",
        _ => type.ToString().ToLowerInvariant(),
    };
}
