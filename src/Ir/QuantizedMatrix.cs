using System.Runtime.InteropServices;

namespace SorsaOrt.Ir;

/// <summary>A stored matrix of small integers: w = scale·(q − zero), one scale and zero for each block.</summary>
/// <remarks>
/// What DequantizeLinear computes, of any granularity: a block is <see cref="BlockRows"/> × <see cref="BlockColumns"/> elements, the last of a row or
/// column may be smaller. The elements are packed row by row as ONNX stores them, 4-bit ones two to a byte, low half first.
/// </remarks>
public sealed class QuantizedMatrix
{
    /// <summary>Length of a block along the input features where the product quantises by itself.</summary>
    public const int Block = 32;

    private readonly byte[] _elements;
    private readonly float[] _scales;
    private readonly byte[]? _zeros;
    private readonly int _blocksAcross;

    private QuantizedMatrix(ElementType type, int rows, int columns, int blockRows, int blockColumns, ElementType scaleType, byte[] elements, float[] scales, byte[]? zeros)
    {
        (Type, Rows, Columns, BlockRows, BlockColumns, ScaleType) = (type, rows, columns, blockRows, blockColumns, scaleType);
        (_elements, _scales, _zeros) = (elements, scales, zeros);
        _blocksAcross = BlocksOf(columns, blockColumns);
    }

    /// <summary>Type of the elements: i4, u4, i8 or u8.</summary>
    public ElementType Type { get; }

    /// <summary>Rows.</summary>
    public int Rows { get; }

    /// <summary>Columns.</summary>
    public int Columns { get; }

    /// <summary>Rows that share a scale.</summary>
    public int BlockRows { get; }

    /// <summary>Columns that share a scale.</summary>
    public int BlockColumns { get; }

    /// <summary>Type the scales are stored in; new ones are rounded to it.</summary>
    public ElementType ScaleType { get; }

    /// <summary>The packed elements.</summary>
    public ReadOnlySpan<byte> Elements => _elements;

    /// <summary>A scale for each block, row by row.</summary>
    public ReadOnlySpan<float> Scales => _scales;

    /// <summary>The packed zero of each block, row by row; null where all are 0.</summary>
    public byte[]? Zeros => _zeros;

    /// <summary>Whether integers of that type can be read as a matrix.</summary>
    public static bool Takes(ElementType type) => type is ElementType.Int4 or ElementType.UInt4 or ElementType.Int8 or ElementType.UInt8;

    /// <summary>Blocks of <paramref name="block"/> in <paramref name="length"/>, the last perhaps smaller.</summary>
    public static int BlocksOf(int length, int block) => checked((int)(((long)length + block - 1) / block));

    /// <summary>A matrix over parts as they are stored.</summary>
    /// <exception cref="ModelFormatException">The parts do not fit together.</exception>
    public static QuantizedMatrix Of(ElementType type, int rows, int columns, int blockRows, int blockColumns, ElementType scaleType, byte[] elements, float[] scales, byte[]? zeros)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(blockRows, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(blockColumns, 1);
        var blocks = checked(BlocksOf(rows, blockRows) * BlocksOf(columns, blockColumns));
        if (!Takes(type) || elements.LongLength != type.ByteSize((long)rows * columns) || scales.Length != blocks || zeros is not null && zeros.LongLength != type.ByteSize(blocks))
            throw new ModelFormatException($"a quantised matrix [{rows},{columns}] of {type.ShortName()} in blocks of {blockRows} × {blockColumns} needs {blocks} scales; "
                + $"{elements.LongLength} bytes, {scales.Length} scales and {zeros?.LongLength ?? 0} bytes of zero points were found");
        return new QuantizedMatrix(type, rows, columns, blockRows, blockColumns, scaleType, elements, scales, zeros);
    }

    /// <summary>What DequantizeLinear reads: a rank-2 tensor with a scale for all of it, for each index of <paramref name="axis"/>, or for each block along it.</summary>
    /// <exception cref="ModelFormatException">The tensors do not fit together.</exception>
    public static QuantizedMatrix Of(Tensor values, Tensor scales, Tensor? zeros, long axis, long blockSize)
    {
        if (values.Shape.Count != 2 || axis is < -2 or > 1 || scales.ToFloat32() is not { } stored)
            throw new ModelFormatException($"{values} with scales {scales} along axis {axis} is no quantised matrix");
        var (rows, columns, block) = (checked((int)values.Shape[0]), checked((int)values.Shape[1]), (int)Math.Clamp(blockSize, 1, int.MaxValue));
        var alongRows = axis is 0 or -2;
        var (blockRows, blockColumns) = scales.Shape.Count switch
        {
            0 => (Math.Max(1, rows), Math.Max(1, columns)),
            1 when scales.ElementCount == 1 => (Math.Max(1, rows), Math.Max(1, columns)),
            1 => alongRows ? (1, Math.Max(1, columns)) : (Math.Max(1, rows), 1),
            _ => alongRows ? (block, 1) : (1, block),
        };
        return Of(values.ElementType, rows, columns, blockRows, blockColumns, scales.ElementType, BytesOf(values), stored, zeros is null ? null : BytesOf(zeros));
    }

    private static byte[] BytesOf(Tensor tensor)
    {
        var bytes = new byte[checked((int)tensor.ByteLength)];
        tensor.CopyTo(0, bytes);
        return bytes;
    }

    /// <summary>Quantises a matrix [rows, columns] in blocks of <see cref="Block"/> along each row around 0, the scales in float32.</summary>
    public static QuantizedMatrix Quantize(ReadOnlySpan<float> matrix, int rows, int columns, ElementType type)
    {
        if (type is not (ElementType.Int4 or ElementType.Int8))
            throw new ArgumentOutOfRangeException(nameof(type), type, "Only i4 and i8.");
        var empty = new QuantizedMatrix(type, rows, columns, 1, Block, ElementType.Float32, [], [], null);
        return empty.Encode(matrix, reuse: false);
    }

    /// <summary>The floats [rows, columns].</summary>
    public float[] ToFloat32()
    {
        var values = new float[checked(Rows * Columns)];
        for (int row = 0, at = 0; row < Rows; row++)
        {
            var block = row / BlockRows * _blocksAcross;
            for (var column = 0; column < Columns; column++, at++)
            {
                var b = block + column / BlockColumns;
                values[at] = _scales[b] * (Get(_elements, at) - Zero(b));
            }
        }
        return values;
    }

    /// <summary>Another matrix in the same form: the same type, blocks and kind of zero points.</summary>
    /// <remarks>A block keeps its scale and zero where that is at least as near as new ones: quantising <see cref="ToFloat32"/> again gives the same bytes.</remarks>
    /// <param name="matrix">[rows, columns].</param>
    public QuantizedMatrix WithValues(ReadOnlySpan<float> matrix) => Encode(matrix, reuse: true);

    private (int Low, int High) Range => Type switch
    {
        ElementType.Int4 => (-8, 7),
        ElementType.UInt4 => (0, 15),
        ElementType.Int8 => (-128, 127),
        _ => (0, 255),
    };

    /// <summary>Whether there are no zero points, or the middle of the range is that of all blocks: other values in this form have the same.</summary>
    public bool IsSymmetric
    {
        get
        {
            var middle = Range.Low < 0 ? 0 : (Range.High + 1) / 2;
            for (var b = 0; _zeros is not null && b < _scales.Length; b++)
            {
                if (Get(_zeros, b) != middle)
                    return false;
            }
            return true;
        }
    }

    private QuantizedMatrix Encode(ReadOnlySpan<float> matrix, bool reuse)
    {
        ArgumentOutOfRangeException.ThrowIfNotEqual(matrix.Length, checked(Rows * Columns));
        var blocksDown = BlocksOf(Rows, BlockRows);
        var (elements, scales, zeros) = (new byte[Type.ByteSize(matrix.Length)], new float[checked(blocksDown * _blocksAcross)], _zeros is null ? null : new byte[_zeros.Length]);
        var symmetric = IsSymmetric;
        var block = new float[checked(Math.Min(BlockRows, Rows) * Math.Min(BlockColumns, Columns))];
        for (var b = 0; b < scales.Length; b++)
        {
            var (top, left) = (b / _blocksAcross * BlockRows, b % _blocksAcross * BlockColumns);
            var (height, width) = (Math.Min(BlockRows, Rows - top), Math.Min(BlockColumns, Columns - left));
            for (var row = 0; row < height; row++)
                matrix.Slice((top + row) * Columns + left, width).CopyTo(block.AsSpan(row * width));
            var values = block.AsSpan(0, height * width);
            var (scale, zero) = Best(values, symmetric, reuse ? b : -1);
            scales[b] = scale;
            if (zeros is not null)
                Set(zeros, b, zero);
            for (var i = 0; i < values.Length; i++)
                Set(elements, (top + i / width) * Columns + left + i % width, Nearest(values[i], scale, zero));
        }
        return new QuantizedMatrix(Type, Rows, Columns, BlockRows, BlockColumns, ScaleType, elements, scales, zeros);
    }

    // The scale and zero with the least squared error: of the block itself, of its largest value at either end of the range, of its extent.
    private (float Scale, int Zero) Best(ReadOnlySpan<float> values, bool symmetric, int old)
    {
        var (low, high) = Range;
        float least = 0, most = 0;
        foreach (var value in values)
            (least, most) = (Math.Min(least, value), Math.Max(most, value));
        var middle = low < 0 ? 0 : (high + 1) / 2;
        var reach = Math.Max(most, -least);
        Span<(float Scale, int Zero)> candidates = stackalloc (float, int)[3];
        var count = 0;
        if (old >= 0)
            candidates[count++] = (_scales[old], Zero(old));
        if (symmetric)
        {
            var zero = old >= 0 ? Zero(old) : middle;
            candidates[count++] = (Rounded(reach / (high - middle)), zero);
            candidates[count++] = (Rounded((most > -least ? most : least) / (low - middle)), zero);
        }
        else
        {
            var scale = Rounded((most - least) / (high - low));
            candidates[count++] = (scale, scale == 0 ? middle : Math.Clamp((int)MathF.Round(low - least / scale), low, high));
        }
        var (best, error) = (candidates[0], double.PositiveInfinity);
        foreach (var candidate in candidates[..count])
        {
            var sum = 0.0;
            foreach (var value in values)
            {
                var d = (double)value - candidate.Scale * (Nearest(value, candidate.Scale, candidate.Zero) - candidate.Zero);
                sum += d * d;
            }
            if (sum < error)
                (best, error) = (candidate, sum);
            // What the old ones give up to rounding stays under them.
            if (old >= 0 && candidate == candidates[0] && error <= values.Length * Math.Pow(1e-6 * reach, 2))
                break;
        }
        return best;
    }

    private int Nearest(float value, float scale, int zero)
    {
        var (low, high) = Range;
        return scale == 0 ? Math.Clamp(zero, low, high) : (int)Math.Clamp(MathF.Round(value / scale) + zero, low, high);
    }

    private float Rounded(float scale) => ScaleType switch
    {
        ElementType.Float16 => (float)(Half)scale,
        ElementType.BFloat16 => BitConverter.UInt32BitsToSingle((BitConverter.SingleToUInt32Bits(scale) + 0x8000) & 0xFFFF0000),
        _ => scale,
    };

    private int Zero(int block) => _zeros is null ? 0 : Get(_zeros, block);

    private int Get(byte[] packed, int index) => Type switch
    {
        ElementType.Int8 => unchecked((sbyte)packed[index]),
        ElementType.UInt8 => packed[index],
        ElementType.UInt4 => packed[index >> 1] >> ((index & 1) << 2) & 15,
        _ => unchecked((sbyte)(packed[index >> 1] << ((~index & 1) << 2))) >> 4,
    };

    private void Set(byte[] packed, int index, int value)
    {
        if (Type.BitSize() == 8)
            packed[index] = unchecked((byte)value);
        else
            packed[index >> 1] |= (byte)((value & 15) << ((index & 1) << 2));
    }

    /// <summary>The scales as bytes of <see cref="ScaleType"/>.</summary>
    public byte[] ScaleBytes() => ScaleType switch
    {
        ElementType.Float16 => MemoryMarshal.AsBytes(Array.ConvertAll(_scales, s => (Half)s).AsSpan()).ToArray(),
        ElementType.BFloat16 => MemoryMarshal.AsBytes(Array.ConvertAll(_scales, s => (ushort)(BitConverter.SingleToUInt32Bits(s) >> 16)).AsSpan()).ToArray(),
        _ => MemoryMarshal.AsBytes(_scales.AsSpan()).ToArray(),
    };
}
