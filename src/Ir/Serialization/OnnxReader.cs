using Google.Protobuf;
using Google.Protobuf.Collections;
using SorsaOrt.Ir.Serialization.Proto;

namespace SorsaOrt.Ir.Serialization;

/// <summary>Reads an ONNX file into a <see cref="Model"/>.</summary>
/// <remarks>
/// Raw data of initializers and external data stay in the memory-mapped files. Everything that the IR does not interpret is kept
/// as bytes in the <c>Uninterpreted</c> properties, and <see cref="OnnxWriter"/> puts it back. Nothing of the file is executed.
/// </remarks>
public static class OnnxReader
{
    /// <summary>Reads the model at <paramref name="path"/>; external data is looked for in its folder.</summary>
    /// <exception cref="ModelFormatException">The file is missing, damaged, dishonest or not ONNX; the message names it.</exception>
    public static Model Read(string path)
    {
        ModelFiles? files = null;
        try
        {
            files = new ModelFiles(path);
            var model = Read(files);
            files.GiveTo(model);
            return model;
        }
        catch (Exception e) when (e is ModelFormatException or InvalidProtocolBufferException or IOException
            or UnauthorizedAccessException or OverflowException or ArgumentException or InvalidOperationException or NotSupportedException)
        {
            files?.Dispose();
            throw new ModelFormatException($"{path}: {(e is ModelFormatException ? "" : "the file is damaged: ")}{e.Message}", e);
        }
    }

    private static Model Read(ModelFiles files)
    {
        if (files.Model.Length > FormatLimits.ModelFileBytes)
            throw new ModelFormatException($"a model file cannot be larger than {FormatLimits.ModelFileBytes} bytes; keep weights as external data");
        if (files.Model.Length == 0)
            throw new ModelFormatException("the file is empty");
        var bytes = files.Model.Span(0, (int)files.Model.Length);
        var (graphField, graphRange, initializers) = WireScan.Model(bytes);
        var proto = ModelProto.Parser.ParseFrom(Without(bytes, new(0, bytes.Length), [graphField]));
        var graphProto = GraphProto.Parser.ParseFrom(Without(bytes, graphRange, initializers.ConvertAll(i => i.Field)));
        var stored = new List<StoredTensor>(initializers.Count);
        foreach (var i in initializers)
        {
            var mapped = i.RawData.Length >= FormatLimits.MappedFromBytes;
            var tensor = TensorProto.Parser.ParseFrom(Without(bytes, i.Message, mapped ? [i.RawField] : []));
            stored.Add(new StoredTensor(tensor, mapped ? i.RawData : null));
        }
        CheckVersions(proto);
        FunctionCalls.Check(proto);
        var graph = new GraphReader(files, proto, outer: null).Read(graphProto, stored, out var external);
        if (graph.Nodes.Count == 0)
            throw new ModelFormatException("the graph has no nodes");
        if (graph.Outputs.Count == 0)
            throw new ModelFormatException("the graph declares no output");
        var model = ReadModel(proto, graph);
        foreach (var (name, location) in external)
        {
            model.ExternalLocations[name] = location;
            model.ExternalTensors[name] = graph.FindInitializer(name)!.Constant!;
        }
        return model;
    }

    private static Model ReadModel(ModelProto proto, Graph graph)
    {
        var model = new Model(graph)
        {
            IrVersion = proto.IrVersion,
            ProducerName = proto.ProducerName,
            ProducerVersion = proto.ProducerVersion,
            Domain = proto.Domain,
            ModelVersion = proto.ModelVersion,
            DocString = proto.DocString,
            FunctionNames = [.. proto.Functions.Select(FunctionCalls.NameOf)],
        };
        foreach (var opset in proto.OpsetImport)
            model.Opsets.Add(StandardDomain(opset.Domain), opset.Version);
        TakeMetadata(proto.MetadataProps, model.Metadata);
        // Explicitly empty texts, and how the standard domain is written, stay in what is kept, so that they are written back.
        proto.ClearIrVersion();
        proto.ClearModelVersionIf(proto.ModelVersion != 0);
        if (proto.ProducerName.Length > 0)
            proto.ClearProducerName();
        if (proto.ProducerVersion.Length > 0)
            proto.ClearProducerVersion();
        if (proto.Domain.Length > 0)
            proto.ClearDomain();
        if (proto.DocString.Length > 0)
            proto.ClearDocString();
        for (var i = proto.OpsetImport.Count - 1; i >= 0; i--)
        {
            if (StandardDomain(proto.OpsetImport[i].Domain).Length > 0)
                proto.OpsetImport.RemoveAt(i);
        }
        model.Uninterpreted = Kept(proto);
        return model;
    }

    private static void CheckVersions(ModelProto proto)
    {
        if (proto.IrVersion is < 1 or > FormatLimits.IrVersion)
            throw new ModelFormatException($"IR version {proto.IrVersion} (ir_version) is unknown; 1 to {FormatLimits.IrVersion} can be read");
        if (proto.OpsetImport.Count == 0)
            throw new ModelFormatException("the model imports no operator set (opset_import)");
        foreach (var twice in proto.OpsetImport.GroupBy(o => StandardDomain(o.Domain)).Where(g => g.Count() > 1))
            throw new ModelFormatException($"the model imports the opset of domain {Quoted.Text(twice.Key)} more than once");
        foreach (var opset in proto.OpsetImport)
        {
            if (opset.Version < 1 || StandardDomain(opset.Domain).Length == 0 && opset.Version > FormatLimits.Opset)
                throw new ModelFormatException($"the model imports opset {opset.Version} of domain {Quoted.Text(opset.Domain)}, which is unknown");
        }
    }

    /// <summary>The domain with the standard one's long name made short.</summary>
    internal static string StandardDomain(string domain) => domain == "ai.onnx" ? "" : domain;

    /// <summary>Moves entries over and leaves the message without them.</summary>
    internal static void TakeMetadata(RepeatedField<StringStringEntryProto> from, IList<KeyValuePair<string, string>> to)
    {
        foreach (var entry in from)
            to.Add(new(entry.Key, entry.Value));
        from.Clear();
    }

    /// <summary>What is left of a message, or null for nothing.</summary>
    internal static byte[]? Kept(IMessage proto) => proto.CalculateSize() == 0 ? null : proto.ToByteArray();

    private static void ClearModelVersionIf(this ModelProto proto, bool clear)
    {
        if (clear)
            proto.ClearModelVersion();
    }

    // The ranges to leave out are in order and inside the whole.
    private static byte[] Without(ReadOnlySpan<byte> bytes, ByteRange whole, List<ByteRange> leaveOut)
    {
        var result = new byte[whole.Length - leaveOut.Sum(r => r.Length)];
        var (from, to) = (whole.Start, 0);
        foreach (var range in leaveOut.Append(new(whole.End, whole.End)))
        {
            bytes[from..range.Start].CopyTo(result.AsSpan(to));
            to += range.Start - from;
            from = range.End;
        }
        return result;
    }
}
