using System.Buffers.Binary;
using System.IO.MemoryMappedFiles;
using System.Numerics.Tensors;
using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace SorsaOrt.Artifacts;

/// <summary>A safetensors file, checked when opened and mapped read-only; pages come in when touched.</summary>
/// <remarks>
/// Layout: header length (8 bytes, little-endian), JSON header, data. Source: github.com/huggingface/safetensors, README "Format".
/// What is copied out is asked of the file itself, so that it leaves no pages of the mapping in the process.
/// </remarks>
public sealed unsafe class SafetensorsReader : IDisposable
{
    private const int LengthBytes = 8;

    private readonly Dictionary<string, SafetensorsEntry> _byName;
    private readonly MemoryMappedFile _mapping;
    private readonly MemoryMappedViewAccessor _view;
    private readonly SafeFileHandle _file;
    private byte* _start;

    private SafetensorsReader(string path, FileStream stream, SafetensorsHeader header)
    {
        Path = path;
        Tensors = header.Entries;
        Metadata = header.Metadata;
        _byName = Tensors.ToDictionary(t => t.Name, StringComparer.Ordinal);
        _file = stream.SafeFileHandle;
        _mapping = MemoryMappedFile.CreateFromFile(stream, null, 0, MemoryMappedFileAccess.Read, HandleInheritability.None, leaveOpen: false);
        _view = _mapping.CreateViewAccessor(0, stream.Length, MemoryMappedFileAccess.Read);
        _view.SafeMemoryMappedViewHandle.AcquirePointer(ref _start);
        _start += _view.PointerOffset;
    }

    /// <summary>Path as opened.</summary>
    public string Path { get; }

    /// <summary>The tensors in the order of their data.</summary>
    public IReadOnlyList<SafetensorsEntry> Tensors { get; }

    /// <summary>The strings of <c>__metadata__</c>.</summary>
    public IReadOnlyDictionary<string, string> Metadata { get; }

    /// <summary>Opens a file and checks its whole header; the data itself is not read.</summary>
    /// <exception cref="SafetensorsFormatException">The file breaks the format.</exception>
    /// <exception cref="IOException">The file is absent, unreadable or not a regular file.</exception>
    public static SafetensorsReader Open(string path)
    {
        FileStream stream = RegularFile.OpenRead(path);
        try
        {
            return new SafetensorsReader(path, stream, ReadHeader(path, stream));
        }
        catch
        {
            stream.Dispose();
            throw;
        }
    }

    /// <summary>True where the file holds a tensor of that name.</summary>
    public bool Contains(string name) => _byName.ContainsKey(name);

    /// <summary>The tensor of that name.</summary>
    /// <exception cref="SafetensorsFormatException">There is none.</exception>
    public SafetensorsEntry this[string name] =>
        _byName.TryGetValue(name, out SafetensorsEntry? entry) ? entry
            : throw new SafetensorsFormatException(Path, name, $"{Text.Quote(Path)} holds no tensor {Text.Quote(name)}; it is not the file that was expected here.");

    /// <summary>A view of a tensor's whole data, at most 2 GiB; valid until <see cref="Dispose"/>.</summary>
    public ReadOnlySpan<byte> Bytes(string name) => Bytes(this[name], 0, checked((int)this[name].ByteCount));

    /// <summary>A view of part of a tensor's data, from byte <paramref name="start"/>; valid until <see cref="Dispose"/>.</summary>
    public ReadOnlySpan<byte> Bytes(SafetensorsEntry tensor, long start, int length)
    {
        Check(tensor, start, length);
        return new ReadOnlySpan<byte>(_start + tensor.Offset + start, length);
    }

    /// <summary>Copies a tensor's data, whatever its type.</summary>
    public void CopyTo(string name, Span<byte> destination) => Read(this[name], 0, destination[..checked((int)this[name].ByteCount)]);

    /// <summary>Copies elements from <paramref name="firstElement"/> on as 32-bit floats; F16 and BF16 are widened, F64 is rounded.</summary>
    public void ReadFloats(string name, long firstElement, Span<float> destination)
    {
        SafetensorsEntry tensor = this[name];
        int size = tensor.Type.ByteSize();
        if (tensor.Type == SafetensorsType.F32)
        {
            Read(tensor, checked(firstElement * size), MemoryMarshal.AsBytes(destination));
            return;
        }
        ReadOnlySpan<byte> bytes = Bytes(tensor, checked(firstElement * size), checked(destination.Length * size));
        switch (tensor.Type)
        {
            case SafetensorsType.F16:
                TensorPrimitives.ConvertToSingle(MemoryMarshal.Cast<byte, Half>(bytes), destination);
                break;
            case SafetensorsType.BF16:
                ReadOnlySpan<ushort> halves = MemoryMarshal.Cast<byte, ushort>(bytes);
                for (int i = 0; i < halves.Length; i++)
                    destination[i] = BitConverter.UInt32BitsToSingle((uint)halves[i] << 16);
                break;
            case SafetensorsType.F64:
                ReadOnlySpan<double> doubles = MemoryMarshal.Cast<byte, double>(bytes);
                for (int i = 0; i < doubles.Length; i++)
                    destination[i] = (float)doubles[i];
                break;
            default:
                throw new SafetensorsFormatException(Path, name, $"{Text.Quote(Path)}: tensor {Text.Quote(name)} is {tensor.Type}; a floating-point type is needed here.");
        }
    }

    /// <summary>All elements of a tensor as 32-bit floats.</summary>
    public float[] ReadFloats(string name)
    {
        float[] values = new float[this[name].ElementCount];
        ReadFloats(name, 0, values);
        return values;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        if (_start == null)
            return;
        _start = null;
        _view.SafeMemoryMappedViewHandle.ReleasePointer();
        _view.Dispose();
        _mapping.Dispose();
    }

    private void Read(SafetensorsEntry tensor, long start, Span<byte> destination)
    {
        Check(tensor, start, destination.Length);
        while (!destination.IsEmpty)
        {
            int count = RandomAccess.Read(_file, destination, tensor.Offset + start);
            if (count == 0)
                throw new EndOfStreamException($"{Text.Quote(Path)} has become shorter since it was opened; something else wrote to it.");
            start += count;
            destination = destination[count..];
        }
    }

    private void Check(SafetensorsEntry tensor, long start, int length)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(start);
        ArgumentOutOfRangeException.ThrowIfNegative(length);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(length, tensor.ByteCount - start);
        ObjectDisposedException.ThrowIf(_start == null, this);
    }

    private static SafetensorsHeader ReadHeader(string path, FileStream stream)
    {
        long fileLength = stream.Length;
        if (fileLength < LengthBytes)
            throw SafetensorsHeader.Broken(path, null, $"it holds {fileLength} bytes, not even the {LengthBytes} of the header's length");
        Span<byte> prefix = stackalloc byte[LengthBytes];
        stream.ReadExactly(prefix);
        ulong length = BinaryPrimitives.ReadUInt64LittleEndian(prefix);
        if (length > (ulong)(fileLength - LengthBytes))
            throw SafetensorsHeader.Broken(path, null, $"its header claims {length} bytes, but {fileLength - LengthBytes} follow");
        if (length > SafetensorsHeader.MaxBytes)
            throw SafetensorsHeader.Broken(path, null, $"its header of {length} bytes is over the format's limit of {SafetensorsHeader.MaxBytes}");
        byte[] json = new byte[(int)length];
        stream.ReadExactly(json);
        long dataStart = LengthBytes + (long)length;
        return SafetensorsHeader.Parse(path, json, dataStart, fileLength - dataStart);
    }
}
