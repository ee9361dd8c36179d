using System.Security.Cryptography;

namespace SorsaOrt.Artifacts;

/// <summary>A file being written from front to back, hashed on the way so that no second read is needed.</summary>
public sealed class DigestStream : Stream
{
    private readonly FileStream _file;
    private readonly IncrementalHash _hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
    private readonly string _shownPath;
    private long _length;
    private FileDigest? _digest;

    /// <summary>Creates the file at <paramref name="path"/>; messages speak of <paramref name="shownPath"/>, its final name.</summary>
    internal DigestStream(string path, string shownPath)
    {
        _shownPath = shownPath;
        try
        {
            _file = new FileStream(path, FileMode.CreateNew, FileAccess.Write, FileShare.Read, bufferSize: 1 << 16);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw CannotWrite(e);
        }
    }

    /// <summary>Flushes to disk (fsync) and closes; gives size and checksum. Further calls give the same answer.</summary>
    public FileDigest Complete()
    {
        if (_digest is not null)
            return _digest;
        Attempt(() => _file.Flush(flushToDisk: true));
        _file.Dispose();
        _digest = new FileDigest(_length, Convert.ToHexStringLower(_hash.GetHashAndReset()));
        _hash.Dispose();
        return _digest;
    }

    /// <inheritdoc/>
    public override void Write(ReadOnlySpan<byte> buffer)
    {
        try
        {
            _file.Write(buffer);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw CannotWrite(e);
        }
        _hash.AppendData(buffer);
        _length += buffer.Length;
    }

    /// <inheritdoc/>
    public override void Write(byte[] buffer, int offset, int count) => Write(buffer.AsSpan(offset, count));

    /// <inheritdoc/>
    public override void Flush()
    {
        if (_digest is null)
            Attempt(_file.Flush);
    }

    /// <inheritdoc/>
    public override bool CanRead => false;

    /// <inheritdoc/>
    public override bool CanSeek => false;

    /// <inheritdoc/>
    public override bool CanWrite => _digest is null;

    /// <inheritdoc/>
    public override long Length => _length;

    /// <inheritdoc/>
    public override long Position { get => _length; set => throw new NotSupportedException(); }

    /// <inheritdoc/>
    public override int Read(byte[] buffer, int offset, int count) => throw new NotSupportedException();

    /// <inheritdoc/>
    public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();

    /// <inheritdoc/>
    public override void SetLength(long value) => throw new NotSupportedException();

    /// <summary>Closes without completing: what is buffered is given up.</summary>
    protected override void Dispose(bool disposing)
    {
        if (disposing && _digest is null)
        {
            try
            {
                _file.Dispose();
            }
            catch (IOException)
            {
                // The last flush failed (disk full): the file is given up anyway and the first error is already on its way.
            }
            _hash.Dispose();
        }
        base.Dispose(disposing);
    }

    private void Attempt(Action action)
    {
        try
        {
            action();
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw CannotWrite(e);
        }
    }

    private IOException CannotWrite(Exception cause) =>
        new($"{Text.Quote(_shownPath)} cannot be written: {cause.Message} Check free space and permissions.", cause);
}
