using SorsaOrt.Ir.Serialization.Proto;

namespace SorsaOrt.Ir.Serialization;

/// <summary>Between <c>TypeProto</c> and <see cref="TensorType"/>.</summary>
internal static class TypeConversion
{
    /// <summary>The tensor type, or null for another kind of type or an unknown element type.</summary>
    public static TensorType? Read(TypeProto? proto)
    {
        if (proto?.ValueCase != TypeProto.ValueOneofCase.TensorType || !Enum.IsDefined((ElementType)proto.TensorType.ElemType))
            return null;
        if (proto.TensorType.Shape is not { } shape)
            return new TensorType((ElementType)proto.TensorType.ElemType, null);
        if (shape.Dim.Count > FormatLimits.Rank)
            throw new ModelFormatException($"a type has more than {FormatLimits.Rank} dimensions");
        return new TensorType((ElementType)proto.TensorType.ElemType, [.. shape.Dim.Select(ReadDim)]);
    }

    /// <summary>The type as a message.</summary>
    public static TypeProto Write(TensorType type)
    {
        var tensor = new TypeProto.Types.Tensor { ElemType = (int)type.ElementType };
        if (type.Shape is not null)
        {
            tensor.Shape = new TensorShapeProto();
            foreach (var dim in type.Shape)
                tensor.Shape.Dim.Add(WriteDim(dim));
        }
        return new TypeProto { TensorType = tensor };
    }

    private static Dim ReadDim(TensorShapeProto.Types.Dimension dim) => dim.ValueCase switch
    {
        TensorShapeProto.Types.Dimension.ValueOneofCase.DimValue when dim.DimValue >= 0 => Dim.Of(dim.DimValue),
        TensorShapeProto.Types.Dimension.ValueOneofCase.DimParam when dim.DimParam.Length > 0 => Dim.Symbol(dim.DimParam),
        _ => Dim.Unknown,
    };

    private static TensorShapeProto.Types.Dimension WriteDim(Dim dim)
    {
        var proto = new TensorShapeProto.Types.Dimension();
        if (dim.Value is { } value)
            proto.DimValue = value;
        else if (dim.IsKnown)
            proto.DimParam = dim.ToString();
        return proto;
    }
}
