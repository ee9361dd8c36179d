namespace SorsaOrt.Artifacts;

/// <summary>One output file that appears under its name only when it is complete.</summary>
/// <remarks>Written under a temporary name beside the target, flushed and synced, then renamed, then the folder synced.
/// Disposed without <see cref="Commit"/> it leaves nothing behind, not even folders it had to make.</remarks>
public sealed class AtomicFile : IDisposable
{
    private readonly OutputFolder _folder;
    private readonly DigestStream _stream;
    private readonly bool _force;
    private bool _committed;

    /// <summary>Begins the file; an existing one is refused here, or with <paramref name="force"/> replaced at <see cref="Commit"/>.</summary>
    public AtomicFile(string path, bool force = false)
    {
        FinalPath = Path.GetFullPath(path);
        _force = force;
        OutputFolder.RefuseFolder(FinalPath);
        RefuseExisting();
        _folder = new OutputFolder(FinalPath);
        Temporary.Sweep(_folder.Path, Path.GetFileName(FinalPath));
        TemporaryPath = Temporary.NameFor(FinalPath);
        try
        {
            _stream = DigestStream.Create(TemporaryPath, FinalPath);
        }
        catch
        {
            Temporary.Release(TemporaryPath);
            _folder.RemoveCreated();
            throw;
        }
    }

    /// <summary>Where the file will stand.</summary>
    public string FinalPath { get; }

    /// <summary>Where it stands until then.</summary>
    public string TemporaryPath { get; }

    /// <summary>The content, written from front to back.</summary>
    public Stream Stream => _stream;

    /// <summary>Completes the file and gives its size and checksum.</summary>
    public FileDigest Commit()
    {
        FileDigest digest = _stream.Complete();
        RefuseExisting();
        Rename.File(TemporaryPath, FinalPath, overwrite: _force);
        _committed = true;
        Temporary.Release(TemporaryPath);
        _folder.Sync();
        return digest;
    }

    /// <summary>Writes bytes as a whole file.</summary>
    public static FileDigest Write(string path, ReadOnlySpan<byte> bytes, bool force = false)
    {
        using var file = new AtomicFile(path, force);
        file.Stream.Write(bytes);
        return file.Commit();
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _stream.Abandon();
        if (_committed)
            return;
        File.Delete(TemporaryPath);
        Temporary.Release(TemporaryPath);
        _folder.RemoveCreated();
    }

    private void RefuseExisting()
    {
        if (!_force && Path.Exists(FinalPath))
            throw OutputExistsException.At(FinalPath);
    }
}
