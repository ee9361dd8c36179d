using System.IO.MemoryMappedFiles;
using Microsoft.Win32.SafeHandles;

namespace SorsaOrt.Ir;

/// <summary>A file mapped read-only into memory; pages come in when touched and can be dropped by the system.</summary>
/// <remarks>
/// <see cref="Span"/> looks through the mapping, for headers and graphs. <see cref="Read"/> asks the file itself: weights that pass through
/// buffers leave no pages in the process, so a model of any size is read in the memory of those buffers.
/// </remarks>
public sealed unsafe class MappedFile : IDisposable
{
    private readonly MemoryMappedFile? _mapping;
    private readonly MemoryMappedViewAccessor? _view;
    private readonly SafeFileHandle? _file;
    private byte* _start;

    /// <summary>Maps the open file; takes over <paramref name="stream"/>.</summary>
    public MappedFile(string path, FileStream stream)
    {
        Path = path;
        Length = stream.Length;
        if (Length == 0)
        {
            stream.Dispose();
            return;
        }
        _file = stream.SafeFileHandle;
        _mapping = MemoryMappedFile.CreateFromFile(stream, null, 0, MemoryMappedFileAccess.Read, HandleInheritability.None, leaveOpen: false);
        _view = _mapping.CreateViewAccessor(0, Length, MemoryMappedFileAccess.Read);
        _view.SafeMemoryMappedViewHandle.AcquirePointer(ref _start);
        _start += _view.PointerOffset;
    }

    /// <summary>Maps a file by its path.</summary>
    public static MappedFile Open(string path) => new(path, new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.Read));

    /// <summary>Path as opened, for messages.</summary>
    public string Path { get; }

    /// <summary>Length of the file in bytes when it was mapped.</summary>
    public long Length { get; }

    /// <summary>Copies bytes out.</summary>
    /// <exception cref="IOException">They cannot be read, or the file has become shorter since it was opened.</exception>
    public void Read(long offset, Span<byte> destination)
    {
        Check(offset, destination.Length);
        while (!destination.IsEmpty)
        {
            var count = RandomAccess.Read(_file!, destination, offset);
            if (count == 0)
                throw new EndOfStreamException($"'{Path}' ends at byte {offset} of the {Length} it had when it was opened; something else wrote to it.");
            offset += count;
            destination = destination[count..];
        }
    }

    /// <summary>A view of part of the file; valid until <see cref="Dispose"/>.</summary>
    public ReadOnlySpan<byte> Span(long offset, int length)
    {
        Check(offset, length);
        return length == 0 ? default : new ReadOnlySpan<byte>(_start + offset, length);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        if (_start != null)
        {
            _view!.SafeMemoryMappedViewHandle.ReleasePointer();
            _start = null;
        }
        _view?.Dispose();
        _mapping?.Dispose();
    }

    private void Check(long offset, int length)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(offset);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(length, Length - offset);
        ObjectDisposedException.ThrowIf(length > 0 && _start == null, this);
    }
}
