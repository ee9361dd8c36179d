using SorsaOrt.Artifacts;
using SorsaOrt.Ir;

namespace SorsaOrt.GraphBuilder;

/// <summary>Writes frozen.bin: the weights that are not trained, each at a page boundary, shared by all graphs of the folder.</summary>
internal sealed class FrozenData : IDisposable
{
    /// <summary>Tensors begin at multiples of this, so that they can be mapped.</summary>
    public const int Alignment = 4096;

    /// <summary>Smaller tensors stay inside the graphs.</summary>
    public const int SmallestExternal = 1024;

    private static readonly byte[] Zeros = new byte[Alignment];
    private readonly DigestStream _stream;
    private long _length;

    public FrozenData(StagedFolder folder) => _stream = folder.Create(ArtifactFiles.FrozenData);

    /// <summary>Appends a tensor and returns where it begins.</summary>
    public long Append(Tensor tensor)
    {
        var start = Align();
        tensor.WriteTo(_stream);
        _length += tensor.ByteLength;
        return start;
    }

    /// <summary>Appends bytes and returns where they begin.</summary>
    public long Append(ReadOnlySpan<byte> bytes)
    {
        var start = Align();
        _stream.Write(bytes);
        _length += bytes.Length;
        return start;
    }

    /// <summary>Ends the file.</summary>
    public void Complete() => _stream.Complete();

    public void Dispose() => _stream.Dispose();

    private long Align()
    {
        var padding = (int)(-_length & (Alignment - 1));
        _stream.Write(Zeros.AsSpan(0, padding));
        _length += padding;
        return _length;
    }
}
