using System.Buffers.Binary;
using System.Globalization;
using System.Text;
using SorsaOrt.Ir;

namespace SorsaOrt.Export.Gguf;

/// <summary>Reads a GGUF header from front to back. Every length is compared with the bytes left before anything is allocated.</summary>
internal sealed class GgufCursor(MappedFile file)
{
    private const int LongestText = 1 << 24;

    /// <summary>Where the next byte is read.</summary>
    public long Position { get; private set; }

    /// <summary>What is being read, for messages.</summary>
    public string Subject { get; set; } = "header";

    /// <summary>Bytes left.</summary>
    public long Left => file.Length - Position;

    public byte U8() => Take(1)[0];

    public ushort U16() => BinaryPrimitives.ReadUInt16LittleEndian(Take(2));

    public uint U32() => BinaryPrimitives.ReadUInt32LittleEndian(Take(4));

    public ulong U64() => BinaryPrimitives.ReadUInt64LittleEndian(Take(8));

    public float F32() => BinaryPrimitives.ReadSingleLittleEndian(Take(4));

    public double F64() => BinaryPrimitives.ReadDoubleLittleEndian(Take(8));

    /// <summary>A string: length and bytes; what is not UTF-8 becomes replacement characters.</summary>
    public string Text(int longest = LongestText)
    {
        var length = U64();
        if (length > (ulong)Left)
            throw Broken($"a string claims {length} bytes, {Left} are left");
        if (length > (ulong)longest)
            throw Broken($"a string of {length} bytes ({Shown(Encoding.UTF8.GetString(file.Span(Position, Math.Min(longest, 60))))}…), at most {longest} are allowed");
        return Encoding.UTF8.GetString(Take((int)length));
    }

    /// <summary>Passes over <paramref name="count"/> elements of <paramref name="size"/> bytes.</summary>
    public void Skip(ulong count, int size)
    {
        if (count > (ulong)(Left / size))
            throw Broken($"an array claims {count} elements of {size} bytes, {Left} bytes are left");
        Position += (long)count * size;
    }

    /// <summary>A count of things that take at least <paramref name="leastBytes"/> each.</summary>
    public int Count(string what, int leastBytes)
    {
        var count = U64();
        if (count > (ulong)(Left / leastBytes))
            throw Broken($"it claims {count} {what}, more than its {Left} remaining bytes can hold");
        return checked((int)count);
    }

    /// <summary>The complaint about what is being read.</summary>
    public ModelFormatException Broken(string problem) =>
        new(string.Create(CultureInfo.InvariantCulture, $"{file.Path} is not a valid GGUF file: {Subject}, byte {Position}: {problem}. Fetch the file again."));

    /// <summary>A name for messages.</summary>
    public static string Shown(string name) => $"'{(name.Length > 60 ? name[..60] + "…" : name)}'";

    private ReadOnlySpan<byte> Take(int length)
    {
        if (length > Left)
            throw Broken($"the file ends where {length} bytes should follow ({Left} are left)");
        var bytes = file.Span(Position, length);
        Position += length;
        return bytes;
    }
}
