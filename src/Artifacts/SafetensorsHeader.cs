using System.Text.Json;
using System.Text.Unicode;

namespace SorsaOrt.Artifacts;

/// <summary>Parses and checks the JSON header of a safetensors file against the bytes present.</summary>
/// <remarks>The rules are those of the reference implementation: a header of at most 100 000 000 bytes that begins with '{', names and
/// keys once each, dtype × shape equal to the byte range, and ranges that cover the data without hole or overlap.</remarks>
internal sealed class SafetensorsHeader
{
    /// <summary>The format's own limit.</summary>
    public const int MaxBytes = 100_000_000;

    /// <summary>Most dimensions of one tensor.</summary>
    public const int MaxRank = 64;

    private const int MaxDepth = 8;

    private readonly string _path;
    private readonly long _dataStart;
    private readonly long _dataLength;
    private readonly List<SafetensorsEntry> _entries = [];
    private readonly HashSet<string> _names = new(StringComparer.Ordinal);
    private readonly Dictionary<string, string> _metadata = [];

    private SafetensorsHeader(string path, long dataStart, long dataLength)
    {
        _path = path;
        _dataStart = dataStart;
        _dataLength = dataLength;
    }

    /// <summary>The tensors in the order of their data.</summary>
    public IReadOnlyList<SafetensorsEntry> Entries => _entries;

    /// <summary>The strings of <c>__metadata__</c>.</summary>
    public IReadOnlyDictionary<string, string> Metadata => _metadata;

    /// <summary>Parses the header bytes of the file at <paramref name="path"/>; data begins at <paramref name="dataStart"/>.</summary>
    public static SafetensorsHeader Parse(string path, ReadOnlySpan<byte> json, long dataStart, long dataLength)
    {
        var header = new SafetensorsHeader(path, dataStart, dataLength);
        if (json.IsEmpty || json[0] != (byte)'{')
            throw header.Broken(null, "its header does not begin with '{'");
        if (!Utf8.IsValid(json))
            throw header.Broken(null, "its header is not valid UTF-8");
        string? tensor = null;
        try
        {
            var reader = new Utf8JsonReader(json, new JsonReaderOptions { MaxDepth = MaxDepth });
            reader.Read();
            while (reader.Read() && reader.TokenType == JsonTokenType.PropertyName)
            {
                tensor = null;
                tensor = reader.GetString()!;
                header.ReadMember(ref reader, tensor);
            }
            tensor = null;
            reader.Read(); // Anything but white space after the closing brace throws here.
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException)
        {
            throw header.Broken(tensor, e is JsonException ? $"its header is not valid JSON ({e.Message})" : "its header holds a value of the wrong kind or invalid text");
        }
        header.CheckCoverage();
        return header;
    }

    private void ReadMember(ref Utf8JsonReader reader, string name)
    {
        if (!_names.Add(name))
            throw Broken(name, "the name stands twice in the header");
        reader.Read();
        if (name == "__metadata__")
            ReadMetadata(ref reader);
        else
            _entries.Add(ReadEntry(ref reader, name));
    }

    private void ReadMetadata(ref Utf8JsonReader reader)
    {
        if (reader.TokenType == JsonTokenType.Null)
            return;
        if (reader.TokenType != JsonTokenType.StartObject)
            throw Broken(null, "__metadata__ is not an object of strings");
        while (reader.Read() && reader.TokenType == JsonTokenType.PropertyName)
        {
            string key = reader.GetString()!;
            reader.Read();
            if (reader.TokenType != JsonTokenType.String)
                throw Broken(null, $"__metadata__ holds {Text.Quote(key)}, which is not a string");
            if (!_metadata.TryAdd(key, reader.GetString()!))
                throw Broken(null, $"__metadata__ holds {Text.Quote(key)} twice");
        }
    }

    private SafetensorsEntry ReadEntry(ref Utf8JsonReader reader, string name)
    {
        if (reader.TokenType != JsonTokenType.StartObject)
            throw Broken(name, "its entry is not an object");
        SafetensorsType? type = null;
        long[]? shape = null, offsets = null;
        while (reader.Read() && reader.TokenType == JsonTokenType.PropertyName)
        {
            string key = reader.GetString()!;
            reader.Read();
            switch (key)
            {
                case "dtype" when type is null:
                    type = ReadType(ref reader, name);
                    break;
                case "shape" when shape is null:
                    shape = ReadNumbers(ref reader, name, key);
                    break;
                case "data_offsets" when offsets is null:
                    offsets = ReadNumbers(ref reader, name, key);
                    break;
                default:
                    throw Broken(name, $"the key {Text.Quote(key)} is unknown or stands twice");
            }
        }
        if (type is null || shape is null || offsets is null)
            throw Broken(name, $"{(type is null ? "dtype" : shape is null ? "shape" : "data_offsets")} is missing");
        return Check(name, type.Value, shape, offsets);
    }

    private SafetensorsType ReadType(ref Utf8JsonReader reader, string name)
    {
        if (reader.TokenType != JsonTokenType.String)
            throw Broken(name, "dtype is not a string");
        string text = reader.GetString()!;
        return SafetensorsTypes.TryParse(text, out SafetensorsType type) ? type : throw Broken(name, $"the dtype {Text.Quote(text)} is unknown");
    }

    private long[] ReadNumbers(ref Utf8JsonReader reader, string name, string key)
    {
        if (reader.TokenType != JsonTokenType.StartArray)
            throw Broken(name, $"{key} is not an array");
        var numbers = new List<long>();
        while (reader.Read() && reader.TokenType != JsonTokenType.EndArray)
        {
            if (reader.TokenType != JsonTokenType.Number || !reader.TryGetInt64(out long number) || number < 0)
                throw Broken(name, $"{key} holds something else than whole numbers from 0 to 2^63-1");
            numbers.Add(number);
            if (numbers.Count > MaxRank)
                throw Broken(name, $"{key} holds more than {MaxRank} numbers");
        }
        return [.. numbers];
    }

    private SafetensorsEntry Check(string name, SafetensorsType type, long[] shape, long[] offsets)
    {
        if (offsets.Length != 2)
            throw Broken(name, $"data_offsets holds {offsets.Length} numbers instead of 2");
        if (offsets[0] > offsets[1])
            throw Broken(name, $"its data begins at {offsets[0]}, after its end {offsets[1]}");
        if (offsets[1] > _dataLength)
            throw Broken(name, $"its data ends at byte {offsets[1]} of the data, but the file holds {_dataLength}; it was cut or is damaged");
        long bytes;
        try
        {
            bytes = new SafetensorsDeclaration(name, type, shape).ByteCount;
        }
        catch (OverflowException)
        {
            throw Broken(name, $"its shape [{string.Join(',', shape)}] has more bytes than 2^63");
        }
        if (bytes != offsets[1] - offsets[0])
            throw Broken(name, $"{type} [{string.Join(',', shape)}] takes {bytes} bytes, but its data_offsets hold {offsets[1] - offsets[0]}");
        return new SafetensorsEntry(name, type, shape, _dataStart + offsets[0], bytes);
    }

    private void CheckCoverage()
    {
        _entries.Sort((a, b) => a.Offset != b.Offset ? a.Offset.CompareTo(b.Offset)
            : a.ByteCount != b.ByteCount ? a.ByteCount.CompareTo(b.ByteCount) : string.CompareOrdinal(a.Name, b.Name));
        long end = _dataStart;
        foreach (SafetensorsEntry entry in _entries)
        {
            if (entry.Offset != end)
                throw Broken(entry.Name, entry.Offset < end ? "its data overlaps another tensor's" : $"there is a hole of {entry.Offset - end} bytes before its data");
            end = entry.Offset + entry.ByteCount;
        }
        if (end != _dataStart + _dataLength)
            throw Broken(null, $"{_dataStart + _dataLength - end} bytes follow the last tensor");
    }

    private SafetensorsFormatException Broken(string? tensor, string problem) => Broken(_path, tensor, problem);

    /// <summary>The error for a problem with a file and, where one is at fault, a tensor.</summary>
    public static SafetensorsFormatException Broken(string path, string? tensor, string problem) => new(path, tensor,
        $"{Text.Quote(path)} is not a valid safetensors file: {(tensor is null ? "" : $"tensor {Text.Quote(tensor)}: ")}{problem}. Fetch or make the file again.");
}
