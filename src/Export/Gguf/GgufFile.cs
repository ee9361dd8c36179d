using System.Numerics;
using SorsaOrt.Artifacts;
using SorsaOrt.Ir;

namespace SorsaOrt.Export.Gguf;

/// <summary>A tensor of a GGUF file.</summary>
/// <param name="Name">Its name.</param>
/// <param name="Type">Element type.</param>
/// <param name="Shape">Dimensions, row-major: the file's in reverse.</param>
/// <param name="Offset">First byte in the file.</param>
/// <param name="ByteCount">Bytes of its data.</param>
internal sealed record GgufTensor(string Name, GgufType Type, IReadOnlyList<long> Shape, long Offset, long ByteCount);

/// <summary>A GGUF file, version 2 or 3: metadata and tensors, checked when opened and mapped read-only.</summary>
/// <remarks>Source: github.com/ggml-org/ggml, docs/gguf.md. Of arrays only the element type and length are kept.</remarks>
internal sealed class GgufFile : IDisposable
{
    private const int LongestKey = 65535, LongestName = 63, MostDimensions = 4, MostAlignment = 1 << 20;
    private const uint Magic = 0x46554747; // "GGUF"

    private readonly Dictionary<string, object> _metadata = new(StringComparer.Ordinal);
    private readonly Dictionary<string, GgufTensor> _tensors = new(StringComparer.Ordinal);
    private readonly MappedFile _file;

    private GgufFile(MappedFile file) => _file = file;

    /// <summary>Path as opened.</summary>
    public string Path => _file.Path;

    /// <summary>Values by key: bool, long, ulong, double, string, or <see cref="GgufArray"/>.</summary>
    public IReadOnlyDictionary<string, object> Metadata => _metadata;

    /// <summary>Tensors by name.</summary>
    public IReadOnlyDictionary<string, GgufTensor> Tensors => _tensors;

    /// <summary>Opens a file and checks its whole header.</summary>
    /// <exception cref="ModelFormatException">It breaks the format.</exception>
    /// <exception cref="UnsupportedGraphException">A tensor has a type that cannot be read.</exception>
    public static GgufFile Open(string path)
    {
        var file = new GgufFile(new MappedFile(path, RegularFile.OpenRead(path)));
        try
        {
            file.ReadHeader();
            return file;
        }
        catch
        {
            file.Dispose();
            throw;
        }
    }

    /// <summary>A view of part of a tensor's data.</summary>
    public ReadOnlySpan<byte> Bytes(GgufTensor tensor, long start, int length) => _file.Span(tensor.Offset + start, length);

    /// <inheritdoc/>
    public void Dispose() => _file.Dispose();

    private void ReadHeader()
    {
        var cursor = new GgufCursor(_file);
        if (cursor.U32() != Magic)
            throw new ModelFormatException($"{Path} is no GGUF file: it does not begin with GGUF. --from takes a Hugging Face folder (config.json and *.safetensors) or a GGUF file.");
        if (cursor.U32() is var version && version is not (2 or 3))
            throw cursor.Broken($"version {version} is not read; 2 and 3 are" + (BitOperations.IsPow2(version >> 24) ? " (this may be a big-endian file)" : ""));
        var tensors = cursor.Count("tensors", 8 + 4 + 8 + 4 + 8);
        var entries = cursor.Count("metadata entries", 8 + 1 + 4 + 1);
        for (var i = 0; i < entries; i++)
            ReadEntry(cursor);
        var alignment = Alignment(cursor);
        for (var i = 0; i < tensors; i++)
            ReadTensor(cursor, alignment);
        PlaceTensors(cursor, alignment);
    }

    private void ReadEntry(GgufCursor cursor)
    {
        cursor.Subject = "a metadata key";
        var key = cursor.Text(LongestKey);
        if (key.Length == 0)
            throw cursor.Broken("it is empty");
        cursor.Subject = $"metadata {GgufCursor.Shown(key)}";
        if (!_metadata.TryAdd(key, ReadValue(cursor, cursor.U32())))
            throw cursor.Broken("the key stands twice");
    }

    private static object ReadValue(GgufCursor cursor, uint type) => type switch
    {
        0 => (ulong)cursor.U8(),
        1 => (long)unchecked((sbyte)cursor.U8()),
        2 => (ulong)cursor.U16(),
        3 => (long)unchecked((short)cursor.U16()),
        4 => (ulong)cursor.U32(),
        5 => (long)unchecked((int)cursor.U32()),
        6 => (double)cursor.F32(),
        7 => cursor.U8() switch { 0 => false, 1 => true, var other => throw cursor.Broken($"a boolean is {other}") },
        8 => cursor.Text(),
        9 => GgufArray.Skip(cursor),
        10 => cursor.U64(),
        11 => unchecked((long)cursor.U64()),
        12 => cursor.F64(),
        _ => throw cursor.Broken($"the value type {type} is unknown"),
    };

    private int Alignment(GgufCursor cursor)
    {
        cursor.Subject = "metadata 'general.alignment'";
        if (!_metadata.TryGetValue("general.alignment", out var value))
            return 32;
        if (value is not ulong alignment || alignment is 0 or > MostAlignment || !BitOperations.IsPow2(alignment))
            throw cursor.Broken($"the alignment {value} is not an unsigned power of two up to {MostAlignment}");
        return (int)alignment;
    }

    // Offsets are relative to the data, whose place is not known yet.
    private void ReadTensor(GgufCursor cursor, int alignment)
    {
        cursor.Subject = "a tensor's name";
        var name = cursor.Text(LongestName);
        cursor.Subject = $"tensor {GgufCursor.Shown(name)}";
        var dimensions = cursor.U32();
        if (dimensions is 0 or > MostDimensions)
            throw cursor.Broken($"it has {dimensions} dimensions, 1 to {MostDimensions} are allowed");
        var shape = new long[dimensions];
        for (var i = shape.Length - 1; i >= 0; i--)
        {
            var length = cursor.U64();
            shape[i] = length is > 0 and <= int.MaxValue ? (long)length : throw cursor.Broken($"a dimension of {length}");
        }
        var type = ReadType(cursor, name);
        var offset = cursor.U64();
        if (shape[^1] % type.BlockLength() != 0)
            throw cursor.Broken($"rows of {shape[^1]} elements do not fill the blocks of {type.BlockLength()} that {type} has");
        if (offset % (ulong)alignment != 0)
            throw cursor.Broken($"its data offset {offset} is not a multiple of {alignment}");
        var blocks = (UInt128)(ulong)(shape[^1] / type.BlockLength());
        foreach (var length in shape.AsSpan(0, shape.Length - 1))
            blocks *= (ulong)length;
        var bytes = blocks * (ulong)type.BlockBytes();
        if (offset > long.MaxValue / 2 || bytes > (UInt128)(ulong)_file.Length)
            throw cursor.Broken($"{type} [{string.Join(',', shape)}] at offset {offset} takes {bytes} bytes, more than the file's {_file.Length}");
        if (!_tensors.TryAdd(name, new GgufTensor(name, type, shape, (long)offset, (long)bytes)))
            throw cursor.Broken("the name stands twice");
    }

    private GgufType ReadType(GgufCursor cursor, string name)
    {
        var type = (GgufType)cursor.U32();
        if (Enum.IsDefined(type))
            return type;
        if ((uint)type is > 39 or 4 or 5)
            throw cursor.Broken($"the type {(uint)type} is unknown");
        throw new UnsupportedGraphException($"{Path}: tensor {GgufCursor.Shown(name)} has ggml's type {(uint)type}, which cannot be read; "
            + $"{string.Join(", ", Enum.GetNames<GgufType>())} can. Take the model in one of those.");
    }

    private void PlaceTensors(GgufCursor cursor, int alignment)
    {
        var start = (cursor.Position + alignment - 1) / alignment * alignment;
        var end = start;
        foreach (var tensor in _tensors.Values.OrderBy(t => t.Offset).ThenBy(t => t.ByteCount).ToList())
        {
            cursor.Subject = $"tensor {GgufCursor.Shown(tensor.Name)}";
            var placed = tensor with { Offset = start + tensor.Offset };
            if (placed.Offset < end)
                throw cursor.Broken("its data overlaps another tensor's");
            end = placed.Offset + placed.ByteCount;
            if (end > _file.Length)
                throw cursor.Broken($"its data ends at byte {end}, the file at {_file.Length}; it was cut or is damaged");
            _tensors[tensor.Name] = placed;
        }
    }
}

/// <summary>What is kept of an array: a tokenizer's vocabulary is not needed here.</summary>
/// <param name="Type">Number of the element type.</param>
/// <param name="Length">Elements.</param>
internal sealed record GgufArray(uint Type, ulong Length)
{
    /// <summary>Reads past an array. Arrays of arrays are not part of any model and are refused.</summary>
    public static GgufArray Skip(GgufCursor cursor)
    {
        var array = new GgufArray(cursor.U32(), cursor.U64());
        switch (array.Type)
        {
            case 0 or 1 or 7:
                cursor.Skip(array.Length, 1);
                break;
            case 2 or 3:
                cursor.Skip(array.Length, 2);
                break;
            case 4 or 5 or 6:
                cursor.Skip(array.Length, 4);
                break;
            case 10 or 11 or 12:
                cursor.Skip(array.Length, 8);
                break;
            case 8:
                SkipTexts(cursor, array.Length);
                break;
            case 9:
                throw cursor.Broken("it is an array of arrays");
            default:
                throw cursor.Broken($"the array's element type {array.Type} is unknown");
        }
        return array;
    }

    private static void SkipTexts(GgufCursor cursor, ulong count)
    {
        if (count > (ulong)(cursor.Left / 8))
            throw cursor.Broken($"an array claims {count} strings, {cursor.Left} bytes are left");
        for (var i = 0UL; i < count; i++)
            cursor.Skip(cursor.U64(), 1);
    }
}
