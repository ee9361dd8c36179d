using System.Collections.Frozen;

namespace SorsaOrt.Ir.Serialization;

/// <summary>Bytes [<paramref name="Start"/>, <paramref name="End"/>) of a model file.</summary>
internal readonly record struct ByteRange(int Start, int End)
{
    public int Length => End - Start;
}

/// <summary>An initializer of the main graph: its field, its message, and within that its <c>raw_data</c> field, if any.</summary>
internal readonly record struct InitializerRange(ByteRange Field, ByteRange Message, ByteRange RawField, ByteRange RawData);

/// <summary>
/// Walks the protobuf wire format of a model without making any object: checks every length, depth and count, and finds the
/// graph and its initializers. Google.Protobuf sees the bytes only after that.
/// </summary>
/// <remarks>Uses an explicit stack. Source of the encoding: protobuf.dev/programming-guides/encoding.</remarks>
internal ref struct WireScan
{
    private enum Kind
    {
        Model, Graph, Node, Attribute, Tensor, SparseTensor, ValueInfo, Type, TensorType, ElementOfType, MapType, Shape,
        Function, Training, Annotation, NodeDevice, ShardingSpec, ShardedDim, Leaf,
    }

    private static readonly FrozenDictionary<(Kind, int), Kind> Children = new Dictionary<(Kind, int), Kind>
    {
        [(Kind.Model, 7)] = Kind.Graph,
        [(Kind.Model, 8)] = Kind.Leaf,
        [(Kind.Model, 14)] = Kind.Leaf,
        [(Kind.Model, 20)] = Kind.Training,
        [(Kind.Model, 25)] = Kind.Function,
        [(Kind.Model, 26)] = Kind.Leaf,
        [(Kind.Graph, 1)] = Kind.Node,
        [(Kind.Graph, 5)] = Kind.Tensor,
        [(Kind.Graph, 11)] = Kind.ValueInfo,
        [(Kind.Graph, 12)] = Kind.ValueInfo,
        [(Kind.Graph, 13)] = Kind.ValueInfo,
        [(Kind.Graph, 14)] = Kind.Annotation,
        [(Kind.Graph, 15)] = Kind.SparseTensor,
        [(Kind.Graph, 16)] = Kind.Leaf,
        [(Kind.Annotation, 2)] = Kind.Leaf,
        [(Kind.Node, 5)] = Kind.Attribute,
        [(Kind.Node, 9)] = Kind.Leaf,
        [(Kind.Node, 10)] = Kind.NodeDevice,
        [(Kind.NodeDevice, 2)] = Kind.ShardingSpec,
        [(Kind.ShardingSpec, 3)] = Kind.Leaf,
        [(Kind.ShardingSpec, 4)] = Kind.ShardedDim,
        [(Kind.ShardedDim, 2)] = Kind.Leaf,
        [(Kind.Attribute, 5)] = Kind.Tensor,
        [(Kind.Attribute, 6)] = Kind.Graph,
        [(Kind.Attribute, 10)] = Kind.Tensor,
        [(Kind.Attribute, 11)] = Kind.Graph,
        [(Kind.Attribute, 14)] = Kind.Type,
        [(Kind.Attribute, 15)] = Kind.Type,
        [(Kind.Attribute, 22)] = Kind.SparseTensor,
        [(Kind.Attribute, 23)] = Kind.SparseTensor,
        [(Kind.Tensor, 3)] = Kind.Leaf,
        [(Kind.Tensor, 13)] = Kind.Leaf,
        [(Kind.Tensor, 16)] = Kind.Leaf,
        [(Kind.SparseTensor, 1)] = Kind.Tensor,
        [(Kind.SparseTensor, 2)] = Kind.Tensor,
        [(Kind.ValueInfo, 2)] = Kind.Type,
        [(Kind.ValueInfo, 4)] = Kind.Leaf,
        [(Kind.Type, 1)] = Kind.TensorType,
        [(Kind.Type, 4)] = Kind.ElementOfType,
        [(Kind.Type, 5)] = Kind.MapType,
        [(Kind.Type, 7)] = Kind.Leaf,
        [(Kind.Type, 8)] = Kind.TensorType,
        [(Kind.Type, 9)] = Kind.ElementOfType,
        [(Kind.TensorType, 2)] = Kind.Shape,
        [(Kind.ElementOfType, 1)] = Kind.Type,
        [(Kind.MapType, 2)] = Kind.Type,
        [(Kind.Shape, 1)] = Kind.Leaf,
        [(Kind.Function, 7)] = Kind.Node,
        [(Kind.Function, 9)] = Kind.Leaf,
        [(Kind.Function, 11)] = Kind.Attribute,
        [(Kind.Function, 12)] = Kind.ValueInfo,
        [(Kind.Function, 14)] = Kind.Leaf,
        [(Kind.Training, 1)] = Kind.Graph,
        [(Kind.Training, 2)] = Kind.Graph,
        [(Kind.Training, 3)] = Kind.Leaf,
        [(Kind.Training, 4)] = Kind.Leaf,
    }.ToFrozenDictionary();

    private readonly ReadOnlySpan<byte> _bytes;
    private readonly Stack<(Kind Kind, int End)> _open = new();
    private readonly List<InitializerRange> _initializers = [];
    private int _position;
    private int _messages;
    private long _structure;
    private long _managedData;

    private WireScan(ReadOnlySpan<byte> bytes) => _bytes = bytes;

    /// <summary>The field and the message of the graph, and its initializers in file order.</summary>
    public static (ByteRange Field, ByteRange Graph, List<InitializerRange> Initializers) Model(ReadOnlySpan<byte> bytes)
    {
        var scan = new WireScan(bytes);
        var (field, graph) = scan.Run();
        return (field, graph, scan._initializers);
    }

    private (ByteRange Field, ByteRange Graph) Run()
    {
        (ByteRange Field, ByteRange Graph)? found = null;
        _open.Push((Kind.Model, _bytes.Length));
        while (_open.Count > 0)
        {
            var (kind, end) = _open.Peek();
            if (_position == end)
            {
                _open.Pop();
                continue;
            }
            var start = _position;
            var (field, wireType) = Tag(end);
            if (wireType != 2)
            {
                Scalar(wireType, end);
                _structure += _position - start;
                continue;
            }
            var payload = Payload(end);
            if (kind == Kind.Model && field == 7)
            {
                if (found is not null)
                    throw Wrong(start, "the model holds two graphs");
                found = (new(start, payload.End), payload);
            }
            if (Children.TryGetValue((kind, field), out var child))
                Enter(kind, field, child, start, payload);
            else
                Skip(kind, field, start, payload);
            if (_structure > FormatLimits.StructureBytes || _managedData > FormatLimits.ManagedDataBytes)
                throw Wrong(start, "the file holds more nodes and constants than any model needs; "
                    + "weights belong into initializers, as raw_data or external data");
        }
        return found ?? throw new ModelFormatException("the file holds no graph: it is not an ONNX model");
    }

    private void Enter(Kind kind, int field, Kind child, int start, ByteRange payload)
    {
        if (++_messages > FormatLimits.Messages)
            throw Wrong(start, $"more than {FormatLimits.Messages} messages");
        if (_open.Count >= FormatLimits.MessageDepth)
            throw Wrong(start, $"messages are nested more than {FormatLimits.MessageDepth} deep (graphs inside of graphs)");
        _structure += payload.Start - start;
        if (kind == Kind.Graph && field == 5 && _open.Count == 2)
            _initializers.Add(new(new(start, payload.End), payload, default, default));
        _position = payload.Start;
        _open.Push((child, payload.End));
    }

    private void Skip(Kind kind, int field, int start, ByteRange payload)
    {
        _position = payload.End;
        if (kind != Kind.Tensor)
        {
            _structure += payload.End - start;
            return;
        }
        if (field == 1 && payload.Length > 10 * FormatLimits.Rank)
            throw Wrong(start, $"a tensor has more than {FormatLimits.Rank} dimensions");
        if (field == 9 && _open.Count == 3 && _initializers.Count > 0 && payload.End <= _initializers[^1].Message.End
            && start >= _initializers[^1].Message.Start)
        {
            if (_initializers[^1].RawField.Length > 0)
                throw Wrong(start, "an initializer holds raw_data twice");
            _initializers[^1] = _initializers[^1] with { RawField = new(start, payload.End), RawData = payload };
        }
        else if (field is 4 or 9 or 10)
        {
            _managedData += payload.Length;
        }
        else
        {
            _structure += payload.End - start;
        }
    }

    private (int Field, int WireType) Tag(int end)
    {
        var start = _position;
        var tag = Varint(end);
        if (tag > uint.MaxValue || tag >> 3 is 0 or > 536870911)
            throw Wrong(start, "a field number that protobuf does not allow");
        var wireType = (int)(tag & 7);
        if (wireType is not (0 or 1 or 2 or 5))
            throw Wrong(start, $"a field of wire type {wireType}, which ONNX does not use");
        return ((int)(tag >> 3), wireType);
    }

    private void Scalar(int wireType, int end)
    {
        var start = _position;
        if (wireType == 0)
        {
            Varint(end);
            return;
        }
        var size = wireType == 1 ? 8 : 4;
        if (size > end - _position)
            throw Wrong(start, "a number is cut short");
        _position += size;
    }

    private ByteRange Payload(int end)
    {
        var start = _position;
        var length = Varint(end);
        if (length > (ulong)(end - _position))
            throw Wrong(start, $"a field claims {length} bytes, {end - _position} are left");
        return new(_position, _position + (int)length);
    }

    private ulong Varint(int end)
    {
        var start = _position;
        var value = 0UL;
        for (var shift = 0; shift < 70; shift += 7)
        {
            if (_position >= end)
                throw Wrong(start, "a number is cut short");
            var b = _bytes[_position++];
            value |= (ulong)(b & 0x7F) << shift;
            if (b < 0x80)
                return value;
        }
        throw Wrong(start, "a number of more than 10 bytes");
    }

    private static ModelFormatException Wrong(int at, string what) =>
        new($"at byte {at}: {what}; the file is damaged, cut or not an ONNX model");
}
