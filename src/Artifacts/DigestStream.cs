using System.Security.Cryptography;

namespace SorsaOrt.Artifacts;

/// <summary>A file being written from front to back, hashed on the way so that no second read is needed.</summary>
/// <remarks>Disposing completes it too, so <c>using</c> suits any writer; a failure then is reported by <see cref="Complete"/>, which whoever
/// commits the output calls. After a failed write it never completes.</remarks>
public sealed class DigestStream : Stream
{
    private readonly FileStream _file;
    private readonly IncrementalHash _hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
    private readonly string _shownPath;
    private long _length;
    private FileDigest? _digest;
    private IOException? _failure;
    private bool _closed;

    /// <summary>Over a file opened for writing; messages speak of <paramref name="shownPath"/>, its final name.</summary>
    internal DigestStream(FileStream file, string shownPath)
    {
        _file = file;
        _shownPath = shownPath;
    }

    /// <summary>Creates the file at <paramref name="path"/>.</summary>
    internal static DigestStream Create(string path, string shownPath)
    {
        try
        {
            return new DigestStream(new FileStream(path, FileMode.CreateNew, FileAccess.Write, FileShare.Read, bufferSize: 1 << 16), shownPath);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw CannotWrite(shownPath, e);
        }
    }

    /// <summary>Flushes to disk (fsync) and closes; gives size and checksum. Further calls give the same answer.</summary>
    public FileDigest Complete()
    {
        if (_digest is not null)
            return _digest;
        if (_failure is not null)
            throw new IOException(_failure.Message, _failure);
        Attempt(_file.Flush);
        Attempt(() => Posix.SyncFile(_file.SafeFileHandle, _shownPath));
        Attempt(_file.Dispose);
        _closed = true;
        return _digest = new FileDigest(_length, Convert.ToHexStringLower(_hash.GetHashAndReset()));
    }

    /// <summary>Closes without completing: the file is given up.</summary>
    internal void Abandon()
    {
        if (!_closed)
        {
            _closed = true;
            _failure ??= new IOException($"{Text.Quote(_shownPath)} was given up.");
            try
            {
                _file.Dispose();
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                // The last flush failed (disk full): the first error is already on its way.
            }
        }
        _hash.Dispose();
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
            throw Fail(e);
        }
        _hash.AppendData(buffer);
        _length += buffer.Length;
    }

    /// <inheritdoc/>
    public override void Write(byte[] buffer, int offset, int count) => Write(buffer.AsSpan(offset, count));

    /// <inheritdoc/>
    public override void Flush()
    {
        if (!_closed)
            Attempt(_file.Flush);
    }

    /// <inheritdoc/>
    public override bool CanRead => false;

    /// <inheritdoc/>
    public override bool CanSeek => false;

    /// <inheritdoc/>
    public override bool CanWrite => !_closed;

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

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        if (disposing && !_closed)
        {
            try
            {
                Complete();
            }
            catch (IOException)
            {
                Abandon(); // Kept in _failure: Complete reports it.
            }
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
            throw Fail(e);
        }
    }

    private IOException Fail(Exception cause) => _failure = CannotWrite(_shownPath, cause);

    private static IOException CannotWrite(string shownPath, Exception cause) =>
        new($"{Text.Quote(shownPath)} cannot be written: {cause.Message} Check free space and permissions.", cause);
}
