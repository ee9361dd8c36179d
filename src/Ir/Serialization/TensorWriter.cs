using System.Globalization;
using Google.Protobuf;
using SorsaOrt.Ir.Serialization.Proto;

namespace SorsaOrt.Ir.Serialization;

/// <summary>Makes a <c>TensorProto</c> of a <see cref="Tensor"/>.</summary>
internal static class TensorWriter
{
    /// <summary>Type, dimensions and what was kept of the file's message; no data, no name.</summary>
    public static TensorProto Header(Tensor tensor)
    {
        var proto = tensor.Uninterpreted is { } kept ? TensorProto.Parser.ParseFrom(kept) : new TensorProto();
        proto.DataType = (int)tensor.ElementType;
        proto.Dims.AddRange(tensor.Shape);
        return proto;
    }

    /// <summary>The whole message, data inside.</summary>
    public static TensorProto Message(Tensor tensor)
    {
        var proto = Header(tensor);
        if (PutTyped(proto, tensor))
            return proto;
        if (tensor.ByteLength > FormatLimits.ManagedDataBytes)
            throw new ModelFormatException($"a constant {tensor} of an attribute or subgraph is too large; make it an initializer of the main graph");
        var bytes = new byte[tensor.ByteLength];
        tensor.CopyTo(0, bytes);
        proto.RawData = UnsafeByteOperations.UnsafeWrap(bytes);
        return proto;
    }

    /// <summary>Puts the data into its typed field where that is its place; otherwise false.</summary>
    public static bool PutTyped(TensorProto proto, Tensor tensor)
    {
        switch (tensor)
        {
            case StringTensor strings:
                proto.StringData.AddRange(strings.Elements.Select(e => UnsafeByteOperations.UnsafeWrap(e)));
                return true;
            case InMemoryTensor { InTypedField: true } small:
                TypedFields.Put(proto, small.ElementType, small.Bytes);
                return true;
            default:
                return false;
        }
    }

    /// <summary>Refers to external data.</summary>
    public static void PutExternal(TensorProto proto, ExternalLocation location)
    {
        ExternalPath.Check(location.Location);
        Put(proto, "location", location.Location);
        if (location.Offset is { } offset)
            Put(proto, "offset", offset.ToString(CultureInfo.InvariantCulture));
        if (location.Length is { } length)
            Put(proto, "length", length.ToString(CultureInfo.InvariantCulture));
        foreach (var (key, value) in location.Others)
            Put(proto, key, value);
        proto.DataLocation = TensorProto.Types.DataLocation.External;
    }

    private static void Put(TensorProto proto, string key, string value) =>
        proto.ExternalData.Add(new StringStringEntryProto { Key = key, Value = value });
}
