using System.Buffers;
using System.Buffers.Binary;
using System.Runtime.InteropServices;
using System.Text.Json;

namespace SorsaOrt.Artifacts;

/// <summary>Writes a safetensors file front to back: all tensors are declared first, then their data follows in the same order, in chunks of any size.</summary>
/// <remarks>The same declarations and data give the same bytes. Data begins at a multiple of 8 bytes of the file.</remarks>
public sealed class SafetensorsWriter
{
    private readonly Stream _stream;
    private readonly IReadOnlyList<SafetensorsDeclaration> _tensors;
    private int _current;
    private long _written;

    /// <summary>Writes the header; the stream stays the caller's.</summary>
    public SafetensorsWriter(Stream stream, IReadOnlyList<SafetensorsDeclaration> tensors, IReadOnlyDictionary<string, string>? metadata = null)
    {
        _stream = stream;
        _tensors = tensors;
        byte[] header = Header(tensors, metadata);
        Span<byte> length = stackalloc byte[8];
        BinaryPrimitives.WriteInt64LittleEndian(length, header.Length);
        stream.Write(length);
        stream.Write(header);
    }

    /// <summary>Appends data of the tensor, which must be the next that is not complete.</summary>
    public void Write(string name, ReadOnlySpan<byte> chunk)
    {
        while (_current < _tensors.Count && _written == _tensors[_current].ByteCount && _tensors[_current].Name != name)
        {
            _current++;
            _written = 0;
        }
        if (_current == _tensors.Count || _tensors[_current].Name != name)
            throw new InvalidOperationException($"{Text.Quote(name)} is written out of the declared order.");
        if (chunk.Length > _tensors[_current].ByteCount - _written)
            throw new InvalidOperationException($"{Text.Quote(name)} gets more than its declared {_tensors[_current].ByteCount} bytes.");
        _stream.Write(chunk);
        _written += chunk.Length;
    }

    /// <summary>Appends elements of an F32 tensor.</summary>
    public void Write(string name, ReadOnlySpan<float> chunk) => Write(name, MemoryMarshal.AsBytes(chunk));

    /// <summary>Checks that every declared byte was written; flush and close the stream after it.</summary>
    public void Complete()
    {
        for (; _current < _tensors.Count; _current++, _written = 0)
        {
            SafetensorsDeclaration tensor = _tensors[_current];
            if (_written != tensor.ByteCount)
                throw new InvalidOperationException($"{Text.Quote(tensor.Name)} got {_written} of its {tensor.ByteCount} bytes.");
        }
    }

    private static byte[] Header(IReadOnlyList<SafetensorsDeclaration> tensors, IReadOnlyDictionary<string, string>? metadata)
    {
        var buffer = new ArrayBufferWriter<byte>();
        var names = new HashSet<string>(StringComparer.Ordinal) { "__metadata__" };
        using (var json = new Utf8JsonWriter(buffer))
        {
            json.WriteStartObject();
            if (metadata is { Count: > 0 })
            {
                json.WriteStartObject("__metadata__");
                foreach ((string key, string value) in metadata.OrderBy(m => m.Key, StringComparer.Ordinal))
                    json.WriteString(key, value);
                json.WriteEndObject();
            }
            long offset = 0;
            foreach (SafetensorsDeclaration tensor in tensors)
            {
                if (!names.Add(tensor.Name))
                    throw new ArgumentException($"{Text.Quote(tensor.Name)} is declared twice or reserved.", nameof(tensors));
                offset = WriteEntry(json, tensor, offset);
            }
            json.WriteEndObject();
        }
        int padding = -buffer.WrittenCount & 7;
        buffer.GetSpan(padding)[..padding].Fill((byte)' ');
        buffer.Advance(padding);
        return buffer.WrittenCount <= SafetensorsHeader.MaxBytes ? buffer.WrittenSpan.ToArray()
            : throw new ArgumentException($"the header takes {buffer.WrittenCount} bytes, over the format's limit of {SafetensorsHeader.MaxBytes}.", nameof(tensors));
    }

    private static long WriteEntry(Utf8JsonWriter json, SafetensorsDeclaration tensor, long offset)
    {
        long end = checked(offset + tensor.ByteCount);
        json.WriteStartObject(tensor.Name);
        json.WriteString("dtype", tensor.Type.ToString());
        json.WriteStartArray("shape");
        foreach (long dimension in tensor.Shape)
        {
            ArgumentOutOfRangeException.ThrowIfNegative(dimension);
            json.WriteNumberValue(dimension);
        }
        json.WriteEndArray();
        json.WriteStartArray("data_offsets");
        json.WriteNumberValue(offset);
        json.WriteNumberValue(end);
        json.WriteEndArray();
        json.WriteEndObject();
        return end;
    }
}
