using Google.Protobuf;
using SorsaOrt.Ir.Serialization.Proto;
using Type = SorsaOrt.Ir.Serialization.Proto.AttributeProto.Types.AttributeType;

namespace SorsaOrt.Ir.Serialization;

/// <summary>Makes a <see cref="NodeAttribute"/> of an <c>AttributeProto</c>.</summary>
internal sealed class AttributeReader(ModelFiles files, ModelProto model, GraphReader graph)
{
    /// <summary>Reads one attribute; the message is emptied on the way.</summary>
    public NodeAttribute Read(AttributeProto proto)
    {
        if (proto.Name.Length == 0)
            throw new ModelFormatException("it has no name");
        var type = proto.Type != Type.Undefined ? proto.Type : TypeByContent(proto);
        if (proto.RefAttrName.Length > 0 || type is < Type.Float or > Type.Graphs)
            return new NodeAttribute(proto.Name, AttributeKind.Uninterpreted, proto.ToByteArray(), proto.DocString, proto.RefAttrName);
        var (name, doc) = (proto.Name, proto.DocString);
        var content = Take(proto, type);
        proto.ClearName();
        proto.ClearType();
        if (doc.Length > 0)
            proto.ClearDocString();
        return new NodeAttribute(name, (AttributeKind)(int)type, content, doc) { Uninterpreted = OnnxReader.Kept(proto) };
    }

    private object Take(AttributeProto proto, Type type)
    {
        switch (type)
        {
            case Type.Float:
                var f = proto.F;
                proto.ClearF();
                return f;
            case Type.Int:
                var i = proto.I;
                proto.ClearI();
                return i;
            case Type.String:
                var s = proto.S.ToByteArray();
                proto.ClearS();
                return s;
            case Type.Floats:
                float[] floats = [.. proto.Floats];
                proto.Floats.Clear();
                return floats;
            case Type.Ints:
                long[] ints = [.. proto.Ints];
                proto.Ints.Clear();
                return ints;
            case Type.Strings:
                byte[][] strings = [.. proto.Strings.Select(t => t.ToByteArray())];
                proto.Strings.Clear();
                return strings;
            case Type.Tensor:
                var tensor = ReadTensor(proto.T ?? throw new ModelFormatException("it holds no tensor"));
                proto.T = null;
                return tensor;
            case Type.Tensors:
                Tensor[] tensors = [.. proto.Tensors.Select(ReadTensor)];
                proto.Tensors.Clear();
                return tensors;
            case Type.Graph:
                var inner = ReadGraph(proto.G ?? throw new ModelFormatException("it holds no graph"));
                proto.G = null;
                return inner;
            default:
                Graph[] graphs = [.. proto.Graphs.Select(ReadGraph)];
                proto.Graphs.Clear();
                return graphs;
        }
    }

    private Tensor ReadTensor(TensorProto proto) => TensorReader.Read(proto, files, raw: null, clearName: false, out _);

    private Graph ReadGraph(GraphProto proto)
    {
        StoredTensor[] initializers = [.. proto.Initializer.Select(t => new StoredTensor(t, null))];
        proto.Initializer.Clear();
        return new GraphReader(files, model, graph).Read(proto, initializers, out _);
    }

    // IR version 1 had no type field; proto3 writers leave out what is 0.
    private static Type TypeByContent(AttributeProto p) =>
        p.HasF ? Type.Float : p.HasI ? Type.Int : p.HasS ? Type.String : p.T is not null ? Type.Tensor : p.G is not null ? Type.Graph
        : p.Floats.Count > 0 ? Type.Floats : p.Ints.Count > 0 ? Type.Ints : p.Strings.Count > 0 ? Type.Strings
        : p.Tensors.Count > 0 ? Type.Tensors : p.Graphs.Count > 0 ? Type.Graphs : Type.Undefined;
}
