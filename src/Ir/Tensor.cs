using System.Globalization;
using System.Numerics.Tensors;
using System.Runtime.InteropServices;

namespace SorsaOrt.Ir;

/// <summary>Constant data of an initializer or attribute. The bytes may lie in memory or in a memory-mapped file.</summary>
/// <remarks>Data is little-endian and row-major, as in <c>TensorProto.raw_data</c>; 4-bit elements are packed low nibble first.</remarks>
public abstract class Tensor
{
    private protected Tensor(ElementType elementType, IReadOnlyList<long> shape)
    {
        ElementType = elementType;
        Shape = shape;
        ElementCount = shape.Aggregate(1L, (product, d) => product * d);
    }

    /// <summary>Type of each element.</summary>
    public ElementType ElementType { get; }

    /// <summary>Lengths of the axes; empty for a scalar.</summary>
    public IReadOnlyList<long> Shape { get; }

    /// <summary>Product of the shape.</summary>
    public long ElementCount { get; }

    /// <summary>Parts of the file's tensor that the product does not interpret (doc string, metadata, an attribute's tensor name), kept for writing.</summary>
    public byte[]? Uninterpreted { get; set; }

    /// <summary>Length of the data in bytes.</summary>
    public abstract long ByteLength { get; }

    /// <summary>Copies bytes from <paramref name="offset"/> on into <paramref name="destination"/>; both must lie inside the data.</summary>
    public abstract void CopyTo(long offset, Span<byte> destination);

    /// <summary>The same bytes, not copied, as a tensor of another type and shape that takes as many.</summary>
    public Tensor ViewAs(ElementType elementType, IReadOnlyList<long> shape) => this switch
    {
        MappedTensor mapped when elementType.ByteSize(shape.Aggregate(1L, (p, d) => checked(p * d))) == ByteLength => new MappedTensor(elementType, shape, mapped.File, mapped.Offset, ByteLength),
        InMemoryTensor inMemory => new InMemoryTensor(elementType, shape, inMemory.Data),
        _ => throw new ArgumentException($"{this} cannot be seen as {elementType.ShortName()}[{string.Join(',', shape)}].", nameof(shape)),
    };

    /// <summary>Writes all bytes, or those from <paramref name="from"/> on, to <paramref name="stream"/> in blocks, without holding them at once.</summary>
    public void WriteTo(Stream stream, long from = 0)
    {
        var block = new byte[(int)Math.Min(1 << 20, Math.Max(1, ByteLength))];
        for (var offset = from; offset < ByteLength;)
        {
            var part = block.AsSpan(0, (int)Math.Min(block.Length, ByteLength - offset));
            CopyTo(offset, part);
            stream.Write(part);
            offset += part.Length;
        }
    }

    /// <summary>All elements as <typeparamref name="T"/>, whose size must be that of the element type.</summary>
    public T[] ToArray<T>() where T : unmanaged
    {
        if (Marshal.SizeOf<T>() * 8 != ElementType.BitSize() && !(typeof(T) == typeof(bool) && ElementType == ElementType.Bool))
            throw new InvalidOperationException($"A tensor of {ElementType} cannot be read as {typeof(T).Name}.");
        var result = new T[ElementCount];
        CopyTo(0, MemoryMarshal.AsBytes(result.AsSpan()));
        return result;
    }

    /// <summary>All elements of an integer or bool tensor widened to 64 bits; null for other types.</summary>
    public long[]? ToInt64()
    {
        return ElementType switch
        {
            ElementType.Int64 => ToArray<long>(),
            ElementType.Int32 => Array.ConvertAll(ToArray<int>(), v => (long)v),
            ElementType.UInt8 => Array.ConvertAll(ToArray<byte>(), v => (long)v),
            ElementType.Int8 => Array.ConvertAll(ToArray<sbyte>(), v => (long)v),
            ElementType.Bool => Array.ConvertAll(ToArray<byte>(), v => v == 0 ? 0L : 1L),
            _ => null,
        };
    }

    /// <summary>All elements of a tensor of 32-bit floats or narrower ones as 32-bit floats, exactly; null for other types.</summary>
    public float[]? ToFloat32()
    {
        switch (ElementType)
        {
            case ElementType.Float32:
                return ToArray<float>();
            case ElementType.Float16:
                return Widen<Half>(TensorPrimitives.ConvertToSingle);
            case ElementType.BFloat16:
                return Widen<ushort>((halves, floats) =>
                {
                    for (var i = 0; i < halves.Length; i++)
                        floats[i] = BitConverter.UInt32BitsToSingle((uint)halves[i] << 16);
                });
            default:
                return null;
        }
    }

    private delegate void Widening<T>(ReadOnlySpan<T> narrow, Span<float> wide);

    // A block at a time: the narrow weight never lies beside the wide one.
    private float[] Widen<T>(Widening<T> widen) where T : unmanaged
    {
        var values = new float[ElementCount];
        var block = new T[Math.Min(values.Length, 1 << 16)];
        for (var done = 0; done < values.Length; done += block.Length)
        {
            var part = block.AsSpan(0, Math.Min(block.Length, values.Length - done));
            CopyTo(2L * done, MemoryMarshal.AsBytes(part));
            widen(part, values.AsSpan(done, part.Length));
        }
        return values;
    }

    /// <summary>All elements of a floating-point tensor as 64-bit floats; null for other types.</summary>
    public double[]? ToFloat64()
    {
        return ElementType switch
        {
            ElementType.Float32 => Array.ConvertAll(ToArray<float>(), v => (double)v),
            ElementType.Float64 => ToArray<double>(),
            ElementType.Float16 => Array.ConvertAll(ToArray<Half>(), v => (double)v),
            ElementType.BFloat16 => Array.ConvertAll(ToArray<ushort>(), v => (double)BitConverter.UInt32BitsToSingle((uint)v << 16)),
            _ => null,
        };
    }

    /// <summary>The one element of a float or integer tensor with exactly one element; null for others.</summary>
    public double? ScalarValue => ElementCount != 1 ? null : ToFloat64() is { } f ? f[0] : ToInt64() is { } i ? i[0] : null;

    /// <summary><c>f32[64,172]</c>.</summary>
    public override string ToString() =>
        $"{ElementType.ShortName()}[{string.Join(',', Shape.Select(d => d.ToString(CultureInfo.InvariantCulture)))}]";
}

/// <summary>A tensor whose bytes are held in managed memory: scalars, axes, small constants, results of arithmetic.</summary>
public sealed class InMemoryTensor : Tensor
{
    private readonly byte[] _bytes;

    /// <summary>Takes over <paramref name="bytes"/>, which must have the length that type and shape ask for.</summary>
    public InMemoryTensor(ElementType elementType, IReadOnlyList<long> shape, byte[] bytes) : base(elementType, shape)
    {
        if (elementType.BitSize() == 0 || bytes.LongLength != elementType.ByteSize(ElementCount))
            throw new ArgumentException($"{bytes.LongLength} bytes do not fill {this}.", nameof(bytes));
        _bytes = bytes;
    }

    /// <summary>A tensor of 32-bit floats.</summary>
    public static InMemoryTensor Of(ReadOnlySpan<float> values, params long[] shape) => Of(ElementType.Float32, values, shape);

    /// <summary>A tensor of 64-bit floats.</summary>
    public static InMemoryTensor Of(ReadOnlySpan<double> values, params long[] shape) => Of(ElementType.Float64, values, shape);

    /// <summary>A tensor of 64-bit integers.</summary>
    public static InMemoryTensor Of(ReadOnlySpan<long> values, params long[] shape) => Of(ElementType.Int64, values, shape);

    /// <summary>A rank-1 tensor of 64-bit integers.</summary>
    public static InMemoryTensor Vector(params ReadOnlySpan<long> values) => Of(values, values.Length);

    /// <summary>A scalar, or with <paramref name="shape"/> a filled tensor, of a floating-point or integer type.</summary>
    public static InMemoryTensor Scalar(ElementType type, double value, params long[] shape) => type switch
    {
        ElementType.Float32 => Of([(float)value], shape),
        ElementType.Float64 => Of([value], shape),
        ElementType.Float16 => Of(type, (ReadOnlySpan<Half>)[(Half)value], shape),
        ElementType.BFloat16 => Of(type, (ReadOnlySpan<ushort>)[BFloat16((float)value)], shape),
        ElementType.Int64 => Of([(long)value], shape),
        ElementType.Int32 => Of(type, (ReadOnlySpan<int>)[(int)value], shape),
        ElementType.Bool => Of(type, (ReadOnlySpan<byte>)[value == 0 ? (byte)0 : (byte)1], shape),
        _ => throw new ArgumentOutOfRangeException(nameof(type), type, "No scalar of this type."),
    };

    // To nearest, ties to even; not for NaN.
    private static ushort BFloat16(float value)
    {
        var bits = BitConverter.SingleToUInt32Bits(value);
        return unchecked((ushort)((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16));
    }

    /// <summary>A tensor over the bytes of <paramref name="values"/>.</summary>
    public static InMemoryTensor Of<T>(ElementType type, ReadOnlySpan<T> values, params long[] shape) where T : unmanaged =>
        new(type, shape, MemoryMarshal.AsBytes(values).ToArray());

    /// <summary>Whether the file keeps the elements in a typed field (<c>float_data</c>, <c>int64_data</c>, …) and not in <c>raw_data</c>.</summary>
    public bool InTypedField { get; init; }

    /// <summary>The data.</summary>
    public ReadOnlySpan<byte> Bytes => _bytes;

    internal byte[] Data => _bytes;

    /// <inheritdoc/>
    public override long ByteLength => _bytes.LongLength;

    /// <inheritdoc/>
    public override void CopyTo(long offset, Span<byte> destination) => _bytes.AsSpan(checked((int)offset), destination.Length).CopyTo(destination);
}

/// <summary>A tensor of strings; exported models hold none on the way of the data, but a file that does stays as it is.</summary>
public sealed class StringTensor : Tensor
{
    /// <summary>Takes over the elements, each the bytes of a UTF-8 string.</summary>
    public StringTensor(IReadOnlyList<long> shape, IReadOnlyList<byte[]> elements) : base(ElementType.String, shape) => Elements = elements;

    /// <summary>The strings as UTF-8 bytes.</summary>
    public IReadOnlyList<byte[]> Elements { get; }

    /// <inheritdoc/>
    public override long ByteLength => 0;

    /// <inheritdoc/>
    public override void CopyTo(long offset, Span<byte> destination) =>
        throw new InvalidOperationException("A string tensor has no raw bytes.");
}

/// <summary>A tensor whose bytes lie in a memory-mapped file, inside the model file itself or in an external data file.</summary>
/// <remarks>Nothing is read until it is asked for; the mapping is owned by the <see cref="Model"/> and closed with it.</remarks>
public sealed class MappedTensor : Tensor
{
    private readonly long _start;

    /// <summary>A view of <paramref name="byteLength"/> bytes from <paramref name="offset"/> on; both were checked against the file.</summary>
    public MappedTensor(ElementType elementType, IReadOnlyList<long> shape, MappedFile file, long offset, long byteLength)
        : base(elementType, shape)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(offset);
        ArgumentOutOfRangeException.ThrowIfNegative(byteLength);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(byteLength, file.Length - offset);
        File = file;
        _start = offset;
        ByteLength = byteLength;
    }

    /// <summary>The mapping that holds the bytes.</summary>
    public MappedFile File { get; }

    /// <summary>Where the bytes begin in <see cref="File"/>.</summary>
    public long Offset => _start;

    /// <inheritdoc/>
    public override long ByteLength { get; }

    /// <inheritdoc/>
    public override void CopyTo(long offset, Span<byte> destination)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan(offset + destination.Length, ByteLength);
        File.Read(_start + offset, destination);
    }
}

/// <summary>A tensor whose bytes are computed when they are first read and forgotten when the last has been: a merged weight on its way to a file.</summary>
public sealed class ComputedTensor : Tensor
{
    private readonly Func<byte[]> _compute;
    private Task<byte[]>? _bytes;

    /// <summary>A tensor of the given type and shape; <paramref name="compute"/> gives exactly its bytes.</summary>
    public ComputedTensor(ElementType elementType, IReadOnlyList<long> shape, Func<byte[]> compute) : base(elementType, shape) =>
        (_compute, ByteLength) = (compute, elementType.ByteSize(ElementCount));

    /// <inheritdoc/>
    public override long ByteLength { get; }

    /// <summary>Begins to compute on another thread, so that the bytes are there when they are read.</summary>
    public void Begin() => _bytes ??= Task.Run(_compute);

    /// <inheritdoc/>
    public override void CopyTo(long offset, Span<byte> destination)
    {
        _bytes ??= Task.FromResult(_compute());
        _bytes.GetAwaiter().GetResult().AsSpan(checked((int)offset), destination.Length).CopyTo(destination);
        if (offset + destination.Length == ByteLength)
        {
            _bytes = null;
            WeightMemory.LetGo(ByteLength);
        }
    }
}

/// <summary>A tensor whose bytes are made piece by piece as they are read: a weight on its way from another file format.</summary>
public sealed class StreamedTensor : Tensor
{
    private readonly Reader _read;

    /// <summary>Fills a span with the bytes from an offset on.</summary>
    public delegate void Reader(long offset, Span<byte> destination);

    /// <summary>A tensor of the given type and shape; <paramref name="read"/> gives any part of its bytes.</summary>
    public StreamedTensor(ElementType elementType, IReadOnlyList<long> shape, Reader read) : base(elementType, shape) =>
        (_read, ByteLength) = (read, elementType.ByteSize(ElementCount));

    /// <inheritdoc/>
    public override long ByteLength { get; }

    /// <inheritdoc/>
    public override void CopyTo(long offset, Span<byte> destination)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan(offset + destination.Length, ByteLength);
        _read(offset, destination);
    }
}
