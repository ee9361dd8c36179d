using Google.Protobuf;
using SorsaOrt.Ir.Serialization.Proto;

namespace SorsaOrt.Ir.Serialization;

/// <summary>Graph inputs that are sequences of tensors. The IR types tensors only: a sequence is a value without a type whose description is kept for writing.</summary>
public static class Sequences
{
    /// <summary>Adds an input: a sequence of tensors of <paramref name="elementType"/> of any shapes.</summary>
    public static Value AddInput(Graph graph, string name, ElementType elementType)
    {
        var value = graph.AddInput(name, null);
        var tensor = new TypeProto.Types.Tensor { ElemType = (int)elementType };
        value.Uninterpreted = new ValueInfoProto
        {
            Type = new TypeProto { SequenceType = new TypeProto.Types.Sequence { ElemType = new TypeProto { TensorType = tensor } } },
        }.ToByteArray();
        return value;
    }
}
