using SorsaOrt.Ir.Serialization.Proto;

namespace SorsaOrt.Ir.Serialization;

/// <summary>Between <c>ValueInfoProto</c> and what a <see cref="Value"/> says of itself.</summary>
internal static class ValueInfoConversion
{
    /// <summary>Takes over type, doc string and metadata. The data of an initializer knows its type better than the file's words.</summary>
    public static void Read(Value value, ValueInfoProto info)
    {
        var type = TypeConversion.Read(info.Type);
        if (value.Constant is null)
            value.Type = type;
        value.DocString = info.DocString;
        OnnxReader.TakeMetadata(info.MetadataProps, value.Metadata);
        info = info.Clone();
        info.ClearName();
        if (value.DocString.Length > 0)
            info.ClearDocString();
        if (type is not null && type.Equals(value.Type) && TypeConversion.Write(type).Equals(info.Type))
            info.Type = null;
        value.Uninterpreted = OnnxReader.Kept(info);
    }

    /// <summary>The message; a kept type is used as long as it says the same as the value's.</summary>
    public static ValueInfoProto Write(Value value)
    {
        var info = value.Uninterpreted is { } kept ? ValueInfoProto.Parser.ParseFrom(kept) : new ValueInfoProto();
        info.Name = value.Name;
        if (value.DocString.Length > 0)
            info.DocString = value.DocString;
        OnnxWriter.PutMetadata(value.Metadata, info.MetadataProps);
        if (value.Type is { } type && (info.Type is null || value.Constant is null && !type.Equals(TypeConversion.Read(info.Type))))
            info.Type = TypeConversion.Write(type);
        return info;
    }
}
