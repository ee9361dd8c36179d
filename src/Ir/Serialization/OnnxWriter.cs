using Google.Protobuf;
using Google.Protobuf.Collections;
using SorsaOrt.Ir.Serialization.Proto;

namespace SorsaOrt.Ir.Serialization;

/// <summary>Writes a <see cref="Model"/> as an ONNX file. The same model always gives the same bytes.</summary>
public static class OnnxWriter
{
    private const uint GraphTag = 7 << 3 | 2;
    private const uint InitializerTag = 5 << 3 | 2;
    private const uint RawDataTag = 9 << 3 | 2;

    /// <summary>The model as one file in memory, all initializers inside.</summary>
    public static byte[] ToBytes(Model model)
    {
        using var stream = new MemoryStream();
        Write(model, stream);
        return stream.ToArray();
    }

    /// <summary>The model as one file, all initializers inside. It appears by renaming, so the model may be read from that same file.</summary>
    public static void Write(Model model, string path)
    {
        var temporary = path + ".tmp";
        try
        {
            using (var stream = new FileStream(temporary, FileMode.Create, FileAccess.Write))
                Write(model, stream);
            File.Move(temporary, path, overwrite: true);
        }
        catch
        {
            File.Delete(temporary);
            throw;
        }
    }

    /// <summary>Writes the model's own file to <paramref name="stream"/>.</summary>
    /// <param name="model">The model.</param>
    /// <param name="stream">Where to.</param>
    /// <param name="place">Where each initializer's bytes lie: an external location, which this method only refers to, or null for
    /// inside the model file. Null places all inside; <see cref="ExternalLayout"/> has placements.</param>
    /// <exception cref="ModelFormatException">The file would pass protobuf's limit of 2 GiB.</exception>
    public static void Write(Model model, Stream stream, Func<Value, ExternalLocation?>? place = null)
    {
        var rest = ModelMessage(model).ToByteArray();
        var graph = GraphWriter.Message(model.Graph, withInitializers: false).ToByteArray();
        var initializers = new List<(byte[] Header, Tensor? Raw)>();
        long graphLength = graph.Length;
        foreach (var value in model.Graph.Initializers)
        {
            var initializer = Initializer(value, place?.Invoke(value));
            initializers.Add(initializer);
            var length = MessageLength(initializer);
            graphLength += 1 + CodedOutputStream.ComputeUInt64Size((ulong)length) + length;
        }
        var total = rest.Length + 1 + CodedOutputStream.ComputeUInt64Size((ulong)graphLength) + graphLength;
        if (total > FormatLimits.ModelFileBytes)
            throw new ModelFormatException($"the model would be a file of {total} bytes, protobuf allows {FormatLimits.ModelFileBytes}; "
                + "keep its weights as external data");
        stream.Write(rest);
        WriteTag(stream, GraphTag, graphLength);
        stream.Write(graph);
        foreach (var initializer in initializers)
        {
            WriteTag(stream, InitializerTag, MessageLength(initializer));
            stream.Write(initializer.Header);
            if (initializer.Raw is { } raw)
            {
                WriteTag(stream, RawDataTag, raw.ByteLength);
                raw.WriteTo(stream);
            }
        }
    }

    /// <summary>Puts entries into a message.</summary>
    internal static void PutMetadata(IEnumerable<KeyValuePair<string, string>> from, RepeatedField<StringStringEntryProto> to)
    {
        foreach (var (key, value) in from)
            to.Add(new StringStringEntryProto { Key = key, Value = value });
    }

    private static ModelProto ModelMessage(Model model)
    {
        var proto = model.Uninterpreted is { } kept ? ModelProto.Parser.ParseFrom(kept) : new ModelProto();
        proto.IrVersion = model.IrVersion;
        if (model.ProducerName.Length > 0)
            proto.ProducerName = model.ProducerName;
        if (model.ProducerVersion.Length > 0)
            proto.ProducerVersion = model.ProducerVersion;
        if (model.Domain.Length > 0)
            proto.Domain = model.Domain;
        if (model.ModelVersion != 0)
            proto.ModelVersion = model.ModelVersion;
        if (model.DocString.Length > 0)
            proto.DocString = model.DocString;
        var standard = proto.OpsetImport.FirstOrDefault() ?? new OperatorSetIdProto { Domain = "" };
        proto.OpsetImport.Clear();
        foreach (var (domain, version) in model.Opsets)
        {
            var opset = domain.Length == 0 ? standard : new OperatorSetIdProto { Domain = domain };
            opset.Version = version;
            proto.OpsetImport.Add(opset);
        }
        PutMetadata(model.Metadata, proto.MetadataProps);
        return proto;
    }

    private static (byte[] Header, Tensor? Raw) Initializer(Value value, ExternalLocation? location)
    {
        var tensor = value.Constant!;
        var proto = TensorWriter.Header(tensor);
        proto.Name = value.Name;
        if (location is not null)
            TensorWriter.PutExternal(proto, location);
        else if (!TensorWriter.PutTyped(proto, tensor))
            return (proto.ToByteArray(), tensor);
        return (proto.ToByteArray(), null);
    }

    private static long MessageLength((byte[] Header, Tensor? Raw) initializer) => initializer.Header.Length
        + (initializer.Raw is { } raw ? 1 + CodedOutputStream.ComputeUInt64Size((ulong)raw.ByteLength) + raw.ByteLength : 0);

    private static void WriteTag(Stream stream, uint tag, long length)
    {
        Span<byte> bytes = stackalloc byte[11];
        bytes[0] = (byte)tag;
        var count = 1;
        for (var rest = (ulong)length; ; rest >>= 7)
        {
            bytes[count++] = (byte)(rest < 0x80 ? rest : rest & 0x7F | 0x80);
            if (rest < 0x80)
                break;
        }
        stream.Write(bytes[..count]);
    }
}
