using System.Buffers.Binary;

namespace SorsaOrt.Artifacts.OrtFormats;

/// <summary>Writes a FlatBuffers file front to back: every table before what it refers to, blobs at the end, streamed.</summary>
/// <remarks>Only the structure is held in memory. Tables and the data of vectors begin at multiples of 8 bytes.</remarks>
internal sealed class FlatWriter
{
    /// <summary>Largest file: offsets are 32-bit, and readers take them as signed.</summary>
    public const long MaxBytes = int.MaxValue;

    private const int Alignment = 8;

    private readonly List<(int Place, FlatBlob Blob)> _blobs = [];
    private byte[] _bytes = new byte[1 << 12];
    private int _length;

    /// <summary>Writes a file with <paramref name="root"/> and a four-letter identifier.</summary>
    /// <exception cref="IOException">It would be too long for the format.</exception>
    public static void Write(Stream stream, string identifier, FlatTable root)
    {
        var writer = new FlatWriter();
        int place = writer.Reserve(sizeof(int), sizeof(int));
        int name = writer.Reserve(4, 1);
        System.Text.Encoding.ASCII.GetBytes(identifier, writer._bytes.AsSpan(name, 4));
        writer.Refer(place, writer.Put(root));
        writer.Stream(stream);
    }

    private int Put(FlatTable table)
    {
        int slots = table.Fields.Count == 0 ? 0 : table.Fields.Keys.Max() + 1;
        int vtable = Reserve(4 + (2 * slots), 2);
        int start = Reserve(sizeof(int), Alignment);
        WriteInt(start, start - vtable);
        var children = new List<(int Place, object Value)>();
        // Large fields first would pack closer; in order of ids the file reads like its schema.
        foreach ((int id, object value) in table.Fields)
        {
            byte[]? inline = (value as FlatScalar)?.Bytes;
            int size = inline?.Length ?? sizeof(int);
            int place = Reserve(size, size);
            if (inline is not null)
                inline.CopyTo(_bytes.AsSpan(place));
            else
                children.Add((place, value));
            WriteShort(vtable + 4 + (2 * id), place - start);
        }
        WriteShort(vtable, 4 + (2 * slots));
        WriteShort(vtable + 2, _length - start);
        foreach ((int place, object value) in children)
            PutChild(place, value);
        return start;
    }

    // The depth is that of the schemas written here, three at most.
    private void PutChild(int place, object value)
    {
        switch (value)
        {
            case FlatTable table:
                Refer(place, Put(table));
                break;
            case FlatText text:
                int characters = Vector(place, text.Bytes.Length, text.Bytes.Length + 1, 1);
                text.Bytes.CopyTo(_bytes.AsSpan(characters));
                break;
            case long[] numbers:
                int first = Vector(place, numbers.Length, checked(numbers.Length * sizeof(long)), sizeof(long));
                for (int i = 0; i < numbers.Length; i++)
                    BinaryPrimitives.WriteInt64LittleEndian(_bytes.AsSpan(first + (i * sizeof(long))), numbers[i]);
                break;
            case FlatTable[] tables:
                int slots = Vector(place, tables.Length, checked(tables.Length * sizeof(int)), sizeof(int));
                for (int i = 0; i < tables.Length; i++)
                    Refer(slots + (i * sizeof(int)), Put(tables[i]));
                break;
            case FlatBlob blob:
                _blobs.Add((place, blob));
                break;
        }
    }

    private int Vector(int place, int count, int byteCount, int alignment)
    {
        while ((_length + sizeof(int)) % Math.Max(alignment, sizeof(int)) != 0)
            Reserve(1, 1);
        int start = Reserve(sizeof(int), sizeof(int));
        WriteInt(start, count);
        Refer(place, start);
        return Reserve(byteCount, 1);
    }

    private void Stream(Stream stream)
    {
        Reserve(0, sizeof(int));
        long end = _length;
        foreach ((int place, FlatBlob blob) in _blobs)
        {
            long start = BlobStart(end);
            end = checked(start + sizeof(int) + blob.Length);
            if (end > MaxBytes)
                throw new IOException($"the tensors take {_blobs.Sum(b => b.Blob.Length)} bytes, a FlatBuffers file holds {MaxBytes} at most; train fewer parameters (--rank, --targets).");
            Refer(place, (int)start);
        }
        stream.Write(_bytes, 0, _length);
        Span<byte> count = stackalloc byte[sizeof(int)];
        long written = _length;
        foreach ((_, FlatBlob blob) in _blobs)
        {
            long start = BlobStart(written);
            stream.Write(Zeros[..(int)(start - written)]);
            BinaryPrimitives.WriteInt32LittleEndian(count, (int)blob.Length);
            stream.Write(count);
            blob.Write(stream);
            written = start + sizeof(int) + blob.Length;
        }
    }

    private static ReadOnlySpan<byte> Zeros => [0, 0, 0, 0, 0, 0, 0, 0];

    private static long BlobStart(long end) => ((end + sizeof(int) + Alignment - 1) / Alignment * Alignment) - sizeof(int);

    private int Reserve(int size, int alignment)
    {
        int start = checked((_length + alignment - 1) / alignment * alignment);
        _length = checked(start + size);
        if (_length > _bytes.Length)
            Array.Resize(ref _bytes, (int)Math.Min(Array.MaxLength, Math.Max(_length, 2L * _bytes.Length)));
        return start;
    }

    private void Refer(int place, int target) => WriteInt(place, target - place);

    private void WriteInt(int place, int value) => BinaryPrimitives.WriteInt32LittleEndian(_bytes.AsSpan(place), value);

    private void WriteShort(int place, int value) => BinaryPrimitives.WriteUInt16LittleEndian(_bytes.AsSpan(place), checked((ushort)value));
}
