using System.Buffers.Binary;
using System.Text;

namespace SorsaOrt.Artifacts.OrtFormats;

/// <summary>Reads a FlatBuffers file whose every offset is checked against the bytes present. Nothing is allocated on a file's word alone.</summary>
internal readonly ref struct FlatReader
{
    /// <summary>Bytes of a string that is read.</summary>
    public const int LongestText = 4096;

    private readonly string _path;
    private readonly ReadOnlySpan<byte> _bytes;

    /// <summary>Over a whole file.</summary>
    public FlatReader(string path, ReadOnlySpan<byte> bytes)
    {
        _path = path;
        _bytes = bytes;
    }

    /// <summary>Position of the root table, after the identifier was checked.</summary>
    public int Root(string identifier)
    {
        Need(0, 8, "its header");
        if (Encoding.Latin1.GetString(_bytes.Slice(4, 4)) is var found && found != identifier)
            throw Broken($"its identifier is {Text.Quote(found)}, {Text.Quote(identifier)} was expected");
        return Follow(0, "the root");
    }

    /// <summary>Position of field <paramref name="id"/> of the table at <paramref name="table"/>, of <paramref name="size"/> bytes; 0 where it is absent.</summary>
    public int Field(int table, int id, int size, string what)
    {
        Need(table, sizeof(int), what);
        long vtable = (long)table - BinaryPrimitives.ReadInt32LittleEndian(_bytes[table..]);
        Need(vtable, 4, what);
        int vtableSize = BinaryPrimitives.ReadUInt16LittleEndian(_bytes[(int)vtable..]);
        int tableSize = BinaryPrimitives.ReadUInt16LittleEndian(_bytes[((int)vtable + 2)..]);
        if (vtableSize < 4 || vtableSize % 2 != 0)
            throw Broken($"{what} has a vtable of {vtableSize} bytes");
        Need(vtable, vtableSize, what);
        Need(table, tableSize, what);
        int slot = 4 + (2 * id);
        int at = slot < vtableSize ? BinaryPrimitives.ReadUInt16LittleEndian(_bytes[((int)vtable + slot)..]) : 0;
        if (at == 0)
            return 0;
        return at + size <= tableSize ? table + at : throw Broken($"field {id} of {what} lies outside its table");
    }

    /// <summary>A bool, false where absent.</summary>
    public bool Bool(int table, int id, string what) => Field(table, id, 1, what) is > 0 and var at && _bytes[at] != 0;

    /// <summary>A 32-bit integer, 0 where absent.</summary>
    public int Int(int table, int id, string what) =>
        Field(table, id, sizeof(int), what) is > 0 and var at ? BinaryPrimitives.ReadInt32LittleEndian(_bytes[at..]) : 0;

    /// <summary>A 64-bit integer.</summary>
    public long Long(int table, int id, long absent, string what) =>
        Field(table, id, sizeof(long), what) is > 0 and var at ? BinaryPrimitives.ReadInt64LittleEndian(_bytes[at..]) : absent;

    /// <summary>A 32-bit float, 0 where absent.</summary>
    public float Float(int table, int id, string what) => BitConverter.Int32BitsToSingle(Int(table, id, what));

    /// <summary>A string; refused where absent or empty.</summary>
    public string Name(int table, int id, string what)
    {
        (int start, int length) = Vector(table, id, 1, what) ?? throw Broken($"{what} has no name");
        if (length is 0 or > LongestText)
            throw Broken($"the name of {what} has {length} bytes, 1 to {LongestText} are read");
        return Encoding.UTF8.GetString(_bytes.Slice(start, length));
    }

    /// <summary>A string of any length, empty where absent.</summary>
    public string String(int table, int id, string what) =>
        Vector(table, id, 1, what) is (var start, var length) ? Encoding.UTF8.GetString(_bytes.Slice(start, length)) : "";

    /// <summary>Position of a child table; 0 where absent.</summary>
    public int Table(int table, int id, string what) => Field(table, id, sizeof(int), what) is > 0 and var at ? Follow(at, what) : 0;

    /// <summary>First byte and number of elements of a vector; null where absent.</summary>
    public (int Start, int Count)? Vector(int table, int id, int elementSize, string what)
    {
        if (Field(table, id, sizeof(int), what) is not (> 0 and var at))
            return null;
        int start = Follow(at, what);
        uint count = BinaryPrimitives.ReadUInt32LittleEndian(_bytes[start..]);
        Need(start + (long)sizeof(int), checked((long)count * elementSize), what);
        return (start + sizeof(int), (int)count);
    }

    /// <summary>Position of table <paramref name="index"/> of a vector of tables.</summary>
    public int Element((int Start, int Count) vector, int index, string what) => Follow(vector.Start + (index * sizeof(int)), what);

    /// <summary>A vector of at most <paramref name="most"/> 64-bit integers; null where absent.</summary>
    public long[]? Longs(int table, int id, int most, string what)
    {
        if (Vector(table, id, sizeof(long), what) is not (var start, var count))
            return null;
        if (count > most)
            throw Broken($"{what} has {count} dimensions, {most} at most are read");
        long[] values = new long[count];
        for (int i = 0; i < count; i++)
            values[i] = BinaryPrimitives.ReadInt64LittleEndian(_bytes[(start + (i * sizeof(long)))..]);
        return values;
    }

    /// <summary>The complaint about this file.</summary>
    public ArtifactMismatchException Broken(string what) =>
        new(_path, $"{Text.Quote(_path)} is damaged or no file of this kind: {what}.");

    private int Follow(int place, string what)
    {
        long target = place + (long)BinaryPrimitives.ReadUInt32LittleEndian(_bytes[place..]);
        Need(target, sizeof(int), what);
        return (int)target;
    }

    private void Need(long start, long count, string what)
    {
        if (start < 0 || start > _bytes.Length - count)
            throw Broken($"{what} leaves the file of {_bytes.Length} bytes (byte {start}, {count} long)");
    }
}
