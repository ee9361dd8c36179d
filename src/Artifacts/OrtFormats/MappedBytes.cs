using System.IO.MemoryMappedFiles;

namespace SorsaOrt.Artifacts.OrtFormats;

/// <summary>A file mapped read-only.</summary>
internal sealed unsafe class MappedBytes : IDisposable
{
    private readonly MemoryMappedFile _mapping;
    private readonly MemoryMappedViewAccessor _view;
    private byte* _start;

    /// <summary>Maps a regular file that is not empty.</summary>
    public MappedBytes(string path)
    {
        FileStream stream = RegularFile.OpenRead(path);
        try
        {
            Length = stream.Length;
            if (Length == 0)
                throw new ArtifactMismatchException(path, $"{Text.Quote(path)} is empty.");
            _mapping = MemoryMappedFile.CreateFromFile(stream, null, 0, MemoryMappedFileAccess.Read, HandleInheritability.None, leaveOpen: false);
        }
        catch
        {
            stream.Dispose();
            throw;
        }
        _view = _mapping.CreateViewAccessor(0, Length, MemoryMappedFileAccess.Read);
        _view.SafeMemoryMappedViewHandle.AcquirePointer(ref _start);
        _start += _view.PointerOffset;
    }

    /// <summary>Bytes of the file.</summary>
    public long Length { get; }

    /// <summary>A view, valid until <see cref="Dispose"/>.</summary>
    public ReadOnlySpan<byte> Span(long start, int length)
    {
        ObjectDisposedException.ThrowIf(_start == null, this);
        ArgumentOutOfRangeException.ThrowIfNegative(start);
        ArgumentOutOfRangeException.ThrowIfNegative(length);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(start, Length - length);
        return new ReadOnlySpan<byte>(_start + start, length);
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
}
