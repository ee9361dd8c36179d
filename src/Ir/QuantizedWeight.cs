using SorsaOrt.Ir.Passes;

namespace SorsaOrt.Ir;

/// <summary>A stored matrix of small integers as a graph reads it: through DequantizeLinear, or as the right side of a MatMulNBits.</summary>
/// <remarks>
/// MatMulNBits (com.microsoft): values u8 [N, blocks, block_size·bits/8] for a weight [N, K], the last block of a row filled up, low bits first; scales
/// [N, blocks]; zero points packed row by row to whole bytes, 2^(bits−1) where there are none. Source: the operator's schema and CPU kernel, ONNX Runtime 1.31.
/// </remarks>
public sealed class QuantizedWeight
{
    private const string Microsoft = ShapeRuleTable.Microsoft;
    private readonly Tensor _values;
    private readonly Tensor _scales;
    private readonly Tensor? _zeros;

    private QuantizedWeight(Node reader, Value values, Value scales, Value? zeros, IReadOnlyList<long> shape)
    {
        (Reader, Values, Scales, Zeros, Shape) = (reader, values, scales, zeros, shape);
        _values = values.ConstantOf()!;
        _scales = StoredScales.ConstantOf()!;
        _zeros = zeros.ConstantOf();
    }

    /// <summary>The DequantizeLinear or MatMulNBits.</summary>
    public Node Reader { get; }

    /// <summary>Whether it is a MatMulNBits.</summary>
    public bool IsNBits => Reader.Is("MatMulNBits", Microsoft);

    /// <summary>The integers.</summary>
    public Value Values { get; }

    /// <summary>Their scales, perhaps behind a Cast.</summary>
    public Value Scales { get; }

    /// <summary>The scales as they are stored.</summary>
    public Value StoredScales => StoredBehind(Scales)!;

    /// <summary>Their zero points, where they have any.</summary>
    public Value? Zeros { get; }

    /// <summary>Dimensions of the matrix: [N, K], or as DequantizeLinear gives it.</summary>
    public IReadOnlyList<long> Shape { get; }

    /// <summary>Type of the integers; those of MatMulNBits are unsigned.</summary>
    public ElementType ElementType => IsNBits ? Bits == 4 ? ElementType.UInt4 : ElementType.UInt8 : _values.ElementType;

    /// <summary>Element type of the scales as the reader gets them, which is that of the floats.</summary>
    public ElementType ScaleType => Scales == StoredScales || !Scales.ElementType.IsFloat() ? _scales.ElementType : Scales.ElementType;

    /// <summary>Values along the blocked axis that share a scale.</summary>
    public long BlockSize => Reader.Int("block_size", IsNBits ? 128 : 0);

    private long Bits => Reader.Int("bits", 4);

    private int BlocksOfRow => QuantizedMatrix.BlocksOf(checked((int)Shape[1]), checked((int)BlockSize));

    /// <summary>The weight that <paramref name="node"/> reads; null where it is another operator, or what it reads is no stored matrix.</summary>
    /// <exception cref="UnsupportedGraphException">A form that cannot be read: which, and at which node.</exception>
    /// <exception cref="ModelFormatException">Parts that do not fit together, named.</exception>
    public static QuantizedWeight? Of(Node node)
    {
        if (node.Is("MatMulNBits", Microsoft))
            return OfNBits(node);
        return node.OpType == "DequantizeLinear" && node.Domain is "" or Microsoft ? OfDequantize(node) : null;
    }

    /// <summary>The weight whose integers an initializer holds; null where no DequantizeLinear or MatMulNBits reads it so.</summary>
    /// <exception cref="UnsupportedGraphException">A form that cannot be read.</exception>
    /// <exception cref="ModelFormatException">Parts that do not fit together.</exception>
    public static QuantizedWeight? Of(Value initializer) => initializer.Uses.Where(u => u.InputIndex < 2).Select(u => Of(u.Node)).FirstOrDefault(w => w?.Values == initializer);

    /// <summary>The integers with their scales.</summary>
    public QuantizedMatrix Read()
    {
        var (rows, columns) = (checked((int)Shape[0]), checked((int)Shape[1]));
        if (!IsNBits)
            return QuantizedMatrix.Of(_values, _scales, _zeros, Reader.Int("axis", 1), BlockSize);
        return QuantizedMatrix.Of(ElementType, rows, columns, 1, checked((int)BlockSize), _scales.ElementType,
            Dense(_values, rows, checked((int)(BlocksOfRow * BlockSize)), columns), _scales.ToFloat32()!, DenseZeros());
    }

    /// <summary>The values of MatMulNBits as a matrix [N, K], its rows close together; the bytes of the file wherever they are so already.</summary>
    public Tensor ValuesAsMatrix()
    {
        var stored = BlocksOfRow * BlockSize;
        return stored == Shape[1] ? _values.ViewAs(ElementType, Shape)
            : new ComputedTensor(ElementType, Shape, () => Dense(_values, checked((int)Shape[0]), checked((int)stored), checked((int)Shape[1])));
    }

    /// <summary>The scales of MatMulNBits as [N, blocks], in the type they are stored in.</summary>
    public Tensor ScalesAsMatrix() => _scales.ViewAs(_scales.ElementType, [Shape[0], BlocksOfRow]);

    /// <summary>The zero points of MatMulNBits as [N, blocks]; null where there are none.</summary>
    public Tensor? ZerosAsMatrix()
    {
        long[] shape = [Shape[0], BlocksOfRow];
        return _zeros is null ? null : _zeros.ByteLength == ElementType.ByteSize(Shape[0] * BlocksOfRow) ? _zeros.ViewAs(ElementType, shape)
            : new ComputedTensor(ElementType, shape, () => DenseZeros());
    }

    /// <summary>Another matrix of the same form as bytes in the layout of the file: values, scales, and zero points where it has any.</summary>
    public (byte[] Values, byte[] Scales, byte[]? Zeros) Encode(QuantizedMatrix matrix)
    {
        if (!IsNBits)
            return (matrix.Elements.ToArray(), matrix.ScaleBytes(), _zeros is null ? null : matrix.Zeros);
        // What fills up the last block of a row stays as it is.
        var values = Bytes(_values);
        Copy(matrix.Elements, matrix.Columns, values, checked((int)(BlocksOfRow * BlockSize)), matrix.Rows, matrix.Columns);
        if (_zeros is null)
            return (values, matrix.ScaleBytes(), null);
        var zeros = Bytes(_zeros);
        Copy(matrix.Zeros, BlocksOfRow, zeros, ZerosOfRow, matrix.Rows, BlocksOfRow);
        return (values, matrix.ScaleBytes(), zeros);
    }

    /// <summary>The data of <see cref="StoredScales"/> or <see cref="Zeros"/>, an initializer or a Constant node.</summary>
    public Tensor DataOf(Value value) => value == Zeros ? _zeros! : _scales;

    private int ZerosOfRow => checked((int)(_zeros!.ByteLength / Shape[0] * 8 / Bits));

    /// <summary>The zero points [N, blocks] of a MatMulNBits that stores none: the middle of the range.</summary>
    internal InMemoryTensor Middles()
    {
        var bytes = new byte[ElementType.ByteSize(Shape[0] * BlocksOfRow)];
        Array.Fill(bytes, (byte)(Bits == 4 ? 0x88 : 0x80));
        return new InMemoryTensor(ElementType, [Shape[0], BlocksOfRow], bytes);
    }

    private byte[] DenseZeros() => _zeros is null ? Middles().Data : Dense(_zeros, checked((int)Shape[0]), ZerosOfRow, BlocksOfRow);

    // Rows of `stored` elements without what fills them up beyond `columns`.
    private byte[] Dense(Tensor packed, int rows, int stored, int columns)
    {
        var bytes = Bytes(packed);
        if (stored == columns)
            return bytes;
        var dense = new byte[ElementType.ByteSize((long)rows * columns)];
        Copy(bytes, stored, dense, columns, rows, columns);
        return dense;
    }

    // Elements of 4 or 8 bits, row by row, between rows of different lengths.
    private void Copy(ReadOnlySpan<byte> source, int sourceColumns, Span<byte> target, int targetColumns, int rows, int columns)
    {
        for (var row = 0; row < rows; row++)
        {
            for (var column = 0; column < columns; column++)
            {
                var (from, to) = ((long)row * sourceColumns + column, (long)row * targetColumns + column);
                if (Bits == 8)
                {
                    target[(int)to] = source[(int)from];
                    continue;
                }
                var value = source[(int)(from >> 1)] >> (int)((from & 1) << 2) & 15;
                var shift = (int)((to & 1) << 2);
                target[(int)(to >> 1)] = (byte)(target[(int)(to >> 1)] & ~(15 << shift) | value << shift);
            }
        }
    }

    private static byte[] Bytes(Tensor tensor)
    {
        var bytes = new byte[checked((int)tensor.ByteLength)];
        tensor.CopyTo(0, bytes);
        return bytes;
    }

    private static QuantizedWeight? OfDequantize(Node node)
    {
        var (values, scales, zeros) = (node.InputOrNull(0), node.InputOrNull(1), node.InputOrNull(2));
        if (values.ConstantOf() is not { Shape: [var rows, var columns] } stored || !QuantizedMatrix.Takes(stored.ElementType))
            return null;
        if (scales is null || StoredBehind(scales).ConstantOf() is not { } factors || !factors.ElementType.IsFloat() || zeros is not null && zeros.ConstantOf() is null)
            throw Unsupported(node, "its scales or zero points are computed, not stored");
        var (axis, block) = (node.Int("axis", 1), node.Int("block_size", 0));
        if (axis is < -2 or > 1)
            throw Malformed(node, $"axis {axis} of a matrix");
        var along = axis is 0 or -2 ? 0 : 1;
        long[] lengths = [rows, columns];
        if (factors.Shape.Count == 2)
        {
            if (block < 1)
                throw Malformed(node, $"scales {factors} without a block_size");
            lengths[along] = (lengths[along] + block - 1) / block;
        }
        var fits = factors.Shape.Count switch { 0 => true, 1 => factors.ElementCount == 1 || factors.ElementCount == lengths[along], 2 => factors.Shape.SequenceEqual(lengths), _ => false };
        if (!fits)
            throw Malformed(node, $"scales '{StoredBehind(scales)!.Name}' {factors} for values '{values!.Name}' {stored} along axis {axis}{(block > 0 ? $" in blocks of {block}" : "")}");
        if (zeros.ConstantOf() is { } points && (points.ElementType != stored.ElementType || points.ElementCount != factors.ElementCount))
            throw Malformed(node, $"zero points '{zeros!.Name}' {points} for scales {factors} of values {stored}");
        return new QuantizedWeight(node, values!, scales, zeros, stored.Shape);
    }

    private static QuantizedWeight OfNBits(Node node)
    {
        long bits = node.Int("bits", 4), block = node.Int("block_size", 128), k = node.Int("K", 0), n = node.Int("N", 0);
        if (bits is not (4 or 8))
            throw Unsupported(node, $"weights of {bits} bits; quantise the model to 4 or 8");
        if (block is < 16 or > 1 << 20 || (block & (block - 1)) != 0)
            throw Malformed(node, $"block_size {block}, which is no power of two from 16 on");
        if (k is < 1 or > int.MaxValue || n is < 1 or > int.MaxValue)
            throw Malformed(node, $"K {k} and N {n}");
        if (node.InputOrNull(4) is not null)
            throw Unsupported(node, "a g_idx input, which gives the columns another order; quantise the model without act-order");
        if (node.Int("weight_prepacked", 0) != 0)
            throw Unsupported(node, "weights packed for one kind of device; export the model without prepacking");
        var (values, scales, zeros) = (node.InputOrNull(1), node.InputOrNull(2), node.InputOrNull(3));
        if (values.ConstantOf() is not { } stored || scales is null || StoredBehind(scales).ConstantOf() is not { } factors || zeros is not null && zeros.ConstantOf() is null)
            throw Unsupported(node, "its weight, scales or zero points are computed, not stored");
        var blocks = (k + block - 1) / block;
        var bytes = checked(n * blocks * (block * bits / 8));
        if (stored.ElementType != ElementType.UInt8 || stored.ByteLength != bytes)
            throw Malformed(node, $"'{values!.Name}' {stored}: {stored.ByteLength} bytes, where a weight [{n},{k}] of {bits} bits in blocks of {block} takes u8[{n},{blocks},{block * bits / 8}], {bytes} bytes");
        if (!factors.ElementType.IsFloat() || factors.ElementType == ElementType.Float64 || factors.ElementCount != n * blocks)
            throw Malformed(node, $"scales '{StoredBehind(scales)!.Name}' {factors}, where {n} × {blocks} floats are needed");
        if (zeros.ConstantOf() is { } points)
        {
            if (points.ElementType.IsFloat())
                throw Unsupported(node, $"zero points '{zeros!.Name}' that are floats; quantise the model with integer zero points");
            if (points.ElementType != ElementType.UInt8 || points.ByteLength != n * ((blocks * bits + 7) / 8))
                throw Malformed(node, $"zero points '{zeros!.Name}' {points}, where u8[{n},{(blocks * bits + 7) / 8}] is needed");
        }
        return new QuantizedWeight(node, values!, scales, zeros, [n, k]);
    }

    // Scales that ComputeInFloat32 widened are stored before the Cast.
    private static Value? StoredBehind(Value? value)
    {
        while (value is { Constant: null, Producer: { } producer } && (producer.Is("Cast") || producer.Is("Identity")))
            value = producer.Inputs[0];
        return value;
    }

    private static UnsupportedGraphException Unsupported(Node node, string what) => new($"{node.OpType} at node '{node.Name}' has {what}.");

    private static ModelFormatException Malformed(Node node, string what) => new($"{node.OpType} at node '{node.Name}' has {what}. Check the model or quantise it again.");
}
