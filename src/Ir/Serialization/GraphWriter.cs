using Google.Protobuf;
using SorsaOrt.Ir.Serialization.Proto;

namespace SorsaOrt.Ir.Serialization;

/// <summary>Makes a <c>GraphProto</c> of a <see cref="Graph"/>.</summary>
internal static class GraphWriter
{
    /// <summary>The message; the main graph's initializers are streamed and left out here.</summary>
    public static GraphProto Message(Graph graph, bool withInitializers)
    {
        var proto = graph.Uninterpreted is { } kept ? GraphProto.Parser.ParseFrom(kept) : new GraphProto();
        if (graph.Name.Length > 0)
            proto.Name = graph.Name;
        if (graph.DocString.Length > 0)
            proto.DocString = graph.DocString;
        proto.Node.AddRange(graph.Nodes.Select(NodeMessage));
        proto.Input.AddRange(graph.Inputs.Select(ValueInfoConversion.Write));
        AddOutputs(graph, proto);
        AddValueInfo(graph, proto);
        OnnxWriter.PutMetadata(graph.Metadata, proto.MetadataProps);
        if (withInitializers)
        {
            foreach (var value in graph.Initializers)
            {
                var initializer = TensorWriter.Message(value.Constant!);
                initializer.Name = value.Name;
                proto.Initializer.Add(initializer);
            }
        }
        return proto;
    }

    // The graph keeps the description of an output that the file describes in a second, different way.
    private static void AddOutputs(Graph graph, GraphProto proto)
    {
        var kept = proto.Output.GroupBy(o => o.Name, StringComparer.Ordinal).ToDictionary(g => g.Key, g => new Queue<ValueInfoProto>(g), StringComparer.Ordinal);
        proto.Output.Clear();
        foreach (var output in graph.Outputs)
            proto.Output.Add(kept.TryGetValue(output.Name, out var infos) && infos.TryDequeue(out var info) ? info : ValueInfoConversion.Write(output));
    }

    private static void AddValueInfo(Graph graph, GraphProto proto)
    {
        var written = new HashSet<Value>();
        var here = graph.Nodes.SelectMany(n => n.Outputs).OfType<Value>().Concat(graph.Initializers).ToHashSet();
        foreach (var value in graph.ValueInfoOrder.Where(here.Contains).Concat(here))
        {
            if (value.HasValueInfo && written.Add(value))
                proto.ValueInfo.Add(ValueInfoConversion.Write(value));
        }
    }

    private static NodeProto NodeMessage(Node node)
    {
        var proto = node.Uninterpreted is { } kept ? NodeProto.Parser.ParseFrom(kept) : new NodeProto();
        proto.Input.AddRange(node.Inputs.Select(v => v?.Name ?? ""));
        proto.Output.AddRange(node.Outputs.Select(v => v?.Name ?? ""));
        proto.OpType = node.OpType;
        if (node.Domain.Length > 0)
            proto.Domain = node.Domain;
        if (node.Name.Length > 0)
            proto.Name = node.Name;
        if (node.Overload.Length > 0)
            proto.Overload = node.Overload;
        if (node.DocString.Length > 0)
            proto.DocString = node.DocString;
        proto.Attribute.AddRange(node.Attributes.Values.Select(AttributeMessage));
        OnnxWriter.PutMetadata(node.Metadata, proto.MetadataProps);
        return proto;
    }

    private static AttributeProto AttributeMessage(NodeAttribute attribute)
    {
        if (attribute.Kind == AttributeKind.Uninterpreted)
            return AttributeProto.Parser.ParseFrom((byte[])attribute.Content);
        var proto = attribute.Uninterpreted is { } kept ? AttributeProto.Parser.ParseFrom(kept) : new AttributeProto();
        proto.Name = attribute.Name;
        proto.Type = (AttributeProto.Types.AttributeType)(int)attribute.Kind;
        if (attribute.DocString.Length > 0)
            proto.DocString = attribute.DocString;
        switch (attribute.Content)
        {
            case float f: proto.F = f; break;
            case long i: proto.I = i; break;
            case byte[] s: proto.S = UnsafeByteOperations.UnsafeWrap(s); break;
            case Tensor t: proto.T = TensorWriter.Message(t); break;
            case Graph g: proto.G = Message(g, withInitializers: true); break;
            case IReadOnlyList<float> floats: proto.Floats.AddRange(floats); break;
            case IReadOnlyList<long> ints: proto.Ints.AddRange(ints); break;
            case IReadOnlyList<byte[]> strings: proto.Strings.AddRange(strings.Select(s => UnsafeByteOperations.UnsafeWrap(s))); break;
            case IReadOnlyList<Tensor> tensors: proto.Tensors.AddRange(tensors.Select(TensorWriter.Message)); break;
            case IReadOnlyList<Graph> graphs: proto.Graphs.AddRange(graphs.Select(g => Message(g, withInitializers: true))); break;
            default: throw new InvalidOperationException($"Attribute '{attribute.Name}' holds a {attribute.Content.GetType().Name}.");
        }
        return proto;
    }
}
