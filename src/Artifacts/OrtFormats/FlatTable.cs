using System.Buffers.Binary;
using System.Text;

namespace SorsaOrt.Artifacts.OrtFormats;

/// <summary>A table of a FlatBuffers file on its way out: its fields by id.</summary>
/// <remarks>Source: flatbuffers.dev, "FlatBuffer Internals"; ../shared/conformance/ort-training/SPEC.md section 5, "Encoding by hand".</remarks>
internal sealed class FlatTable
{
    private readonly SortedDictionary<int, object> _fields = [];

    /// <summary>The fields by id: a scalar, a text, a vector of integers, a table, a vector of tables, or a blob.</summary>
    public IReadOnlyDictionary<int, object> Fields => _fields;

    /// <summary>A bool.</summary>
    public FlatTable Bool(int id, bool value) => Put(id, new FlatScalar([value ? (byte)1 : (byte)0]));

    /// <summary>A 32-bit integer.</summary>
    public FlatTable Int(int id, int value)
    {
        byte[] bytes = new byte[sizeof(int)];
        BinaryPrimitives.WriteInt32LittleEndian(bytes, value);
        return Put(id, new FlatScalar(bytes));
    }

    /// <summary>A 64-bit integer.</summary>
    public FlatTable Long(int id, long value)
    {
        byte[] bytes = new byte[sizeof(long)];
        BinaryPrimitives.WriteInt64LittleEndian(bytes, value);
        return Put(id, new FlatScalar(bytes));
    }

    /// <summary>A 32-bit float.</summary>
    public FlatTable Float(int id, float value) => Int(id, BitConverter.SingleToInt32Bits(value));

    /// <summary>A string.</summary>
    public FlatTable String(int id, string value) => Put(id, new FlatText(Encoding.UTF8.GetBytes(value)));

    /// <summary>A vector of 64-bit integers.</summary>
    public FlatTable Longs(int id, IEnumerable<long> values) => Put(id, values.ToArray());

    /// <summary>A table.</summary>
    public FlatTable Table(int id, FlatTable value) => Put(id, value);

    /// <summary>A vector of tables.</summary>
    public FlatTable Tables(int id, IEnumerable<FlatTable> values) => Put(id, values.ToArray());

    /// <summary>A vector of bytes that is written when the file is, after everything else.</summary>
    public FlatTable Blob(int id, FlatBlob value) => Put(id, value);

    private FlatTable Put(int id, object value)
    {
        _fields.Add(id, value);
        return this;
    }
}

/// <summary>Bytes that stand in the table itself.</summary>
internal sealed record FlatScalar(byte[] Bytes);

/// <summary>A UTF-8 string.</summary>
internal sealed record FlatText(byte[] Bytes);

/// <summary>A long vector of bytes, streamed.</summary>
/// <param name="Length">Its bytes.</param>
/// <param name="Write">Writes exactly that many.</param>
internal sealed record FlatBlob(long Length, Action<Stream> Write);
