using System.Globalization;
using Google.Protobuf;
using SorsaOrt.Ir.Serialization.Proto;

namespace SorsaOrt.Ir.Serialization;

/// <summary>Makes a <see cref="Tensor"/> of a <c>TensorProto</c>. What it interprets is cleared from the message; the rest stays for writing.</summary>
internal static class TensorReader
{
    /// <summary>Reads one tensor.</summary>
    /// <param name="proto">The message, without raw data where <paramref name="raw"/> is given.</param>
    /// <param name="files">The files data may lie in.</param>
    /// <param name="raw">Where the raw data lies in the model file when it was left out of <paramref name="proto"/>.</param>
    /// <param name="clearName">Whether the name is known elsewhere, as an initializer's is.</param>
    /// <param name="external">Where the data lies when it is external.</param>
    public static Tensor Read(TensorProto proto, ModelFiles files, ByteRange? raw, bool clearName, out ExternalLocation? external)
    {
        var name = proto.Name;
        if (clearName)
            proto.ClearName();
        try
        {
            return ReadNamed(proto, files, raw, out external);
        }
        catch (Exception e) when (e is ModelFormatException or OverflowException or IOException or UnauthorizedAccessException)
        {
            var what = e is OverflowException ? "its dimensions multiply to more than 64 bits can count" : e.Message;
            throw new ModelFormatException($"tensor {Quoted.Text(name)}: {what}", e);
        }
    }

    private static Tensor ReadNamed(TensorProto proto, ModelFiles files, ByteRange? raw, out ExternalLocation? external)
    {
        var type = (ElementType)proto.DataType;
        if (type == ElementType.Undefined || !Enum.IsDefined(type))
            throw new ModelFormatException($"unknown data type {proto.DataType}");
        long[] shape = [.. proto.Dims];
        if (shape.Length > FormatLimits.Rank)
            throw new ModelFormatException($"more than {FormatLimits.Rank} dimensions");
        if (Array.FindIndex(shape, d => d < 0) is var negative and >= 0)
            throw new ModelFormatException($"dimension {negative} is {shape[negative]}");
        if (proto.Segment is not null)
            throw new ModelFormatException("it is stored in segments, which is not supported");
        var count = shape.Aggregate(1L, (product, d) => checked(product * d));
        var byteLength = checked((count * type.BitSize() + 7) / 8);
        external = null;
        var tensor = proto.DataLocation == TensorProto.Types.DataLocation.External
            ? ReadExternal(proto, type, shape, byteLength, files, raw, out external)
            : ReadStored(proto, type, shape, count, byteLength, files, raw);
        proto.ClearDataType();
        proto.Dims.Clear();
        tensor.Uninterpreted = proto.CalculateSize() == 0 ? null : proto.ToByteArray();
        return tensor;
    }

    private static Tensor ReadStored(
        TensorProto proto, ElementType type, long[] shape, long count, long byteLength, ModelFiles files, ByteRange? raw)
    {
        var typed = TypedFields.Present(proto);
        var hasRaw = raw is not null || proto.HasRawData;
        if (typed.Count + (hasRaw ? 1 : 0) > 1 || hasRaw && typed.Count > 0)
            throw new ModelFormatException($"its data stands twice: {string.Join(" and ", [.. typed, .. hasRaw ? ["raw_data"] : Array.Empty<string>()])}");
        if (type == ElementType.String)
        {
            if (hasRaw || typed.Count > 0 && typed[0] != "string_data")
                throw new ModelFormatException("strings must stand in string_data");
            if (proto.StringData.Count != count)
                throw new ModelFormatException($"{Shape(shape)} asks for {count} strings, string_data holds {proto.StringData.Count}");
            var strings = new StringTensor(shape, [.. proto.StringData.Select(s => s.ToByteArray())]);
            proto.StringData.Clear();
            return strings;
        }
        if (hasRaw)
        {
            long present = raw?.Length ?? proto.RawData.Length;
            if (present != byteLength)
                throw new ModelFormatException($"{type.ShortName()}{Shape(shape)} asks for {byteLength} bytes, raw_data holds {present}");
            Tensor tensor = raw is { } range
                ? new MappedTensor(type, shape, files.Model, range.Start, byteLength)
                : new InMemoryTensor(type, shape, proto.RawData.ToByteArray());
            proto.ClearRawData();
            return tensor;
        }
        if (typed.Count > 0 && typed[0] != TypedFields.FieldOf(type))
            throw new ModelFormatException($"data of type {type.ShortName()} cannot stand in {typed[0]}");
        var elements = TypedFields.ElementsPresent(proto);
        if (elements != TypedFields.ElementsNeeded(type, count))
            throw new ModelFormatException(
                $"{type.ShortName()}{Shape(shape)} asks for {TypedFields.ElementsNeeded(type, count)} elements, the file holds "
                + (typed.Count == 0 ? "no data" : $"{elements} in {typed[0]}"));
        return new InMemoryTensor(type, shape, TypedFields.Take(proto, type, checked((int)byteLength))) { InTypedField = true };
    }

    private static MappedTensor ReadExternal(
        TensorProto proto, ElementType type, long[] shape, long byteLength, ModelFiles files, ByteRange? raw, out ExternalLocation? external)
    {
        if (type == ElementType.String)
            throw new ModelFormatException("strings cannot be external data");
        if (raw is not null || proto.HasRawData || TypedFields.Present(proto).Count > 0)
            throw new ModelFormatException("its data stands twice: in the model file and as external data");
        external = Location(proto);
        var file = files.External(external.Location);
        var (offset, length) = (external.Offset ?? 0, external.Length ?? byteLength);
        if (offset > file.Length || length > file.Length - offset)
            throw new ModelFormatException(
                $"its data is {length} bytes from byte {offset} on in {Quoted.Text(external.Location)}, which has {file.Length} bytes");
        if (length != byteLength)
            throw new ModelFormatException(
                $"{type.ShortName()}{Shape(shape)} asks for {byteLength} bytes, the entry 'length' of its external data in "
                + $"{Quoted.Text(external.Location)} says {length}");
        proto.ExternalData.Clear();
        proto.ClearDataLocation();
        return new MappedTensor(type, shape, file, offset, byteLength);
    }

    private static ExternalLocation Location(TensorProto proto)
    {
        string? location = null;
        long? offset = null, length = null;
        var others = new List<KeyValuePair<string, string>>();
        foreach (var entry in proto.ExternalData)
        {
            if (entry.Key == "location" && location is null)
                location = entry.Value;
            else if (entry.Key == "offset" && offset is null)
                offset = Number(entry);
            else if (entry.Key == "length" && length is null)
                length = Number(entry);
            else if (entry.Key is "location" or "offset" or "length")
                throw new ModelFormatException($"its external data names '{entry.Key}' twice");
            else
                others.Add(new(entry.Key, entry.Value));
        }
        if (string.IsNullOrEmpty(location))
            throw new ModelFormatException("its data is external, but no location is given");
        return new ExternalLocation(location, offset, length, others);
    }

    private static long Number(StringStringEntryProto entry) =>
        entry.Value.All(char.IsAsciiDigit) && long.TryParse(entry.Value, NumberStyles.None, CultureInfo.InvariantCulture, out var n)
            ? n
            : throw new ModelFormatException($"the entry '{entry.Key}' of its external data is {Quoted.Text(entry.Value)}, not a number of bytes");

    internal static string Shape(IEnumerable<long> shape) =>
        $"[{string.Join(',', shape.Select(d => d.ToString(CultureInfo.InvariantCulture)))}]";
}
