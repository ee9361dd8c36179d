namespace SorsaOrt.Artifacts;

/// <summary>One output folder that appears under its name only when it is complete.</summary>
/// <remarks>Files are written into a temporary sibling, each synced; <see cref="Commit"/> syncs the folders and renames.
/// Disposed without <see cref="Commit"/> it leaves nothing behind.</remarks>
public sealed class StagedFolder : IDisposable
{
    private readonly OutputFolder _parent;
    private readonly StagedContent _content;
    private readonly bool _force;
    private readonly IReadOnlyList<string>? _own;
    private bool _committed;

    /// <summary>Begins the folder. An existing one is refused unless it is empty, or replaced at <see cref="Commit"/> with <paramref name="force"/>.</summary>
    /// <param name="path">Where the folder will stand.</param>
    /// <param name="force">Replace an existing folder.</param>
    /// <param name="own">Names that such a folder may hold, first the one it must: --force takes away nothing else. Null: it may hold anything.</param>
    public StagedFolder(string path, bool force = false, IReadOnlyList<string>? own = null)
    {
        string full = System.IO.Path.TrimEndingDirectorySeparator(System.IO.Path.GetFullPath(path));
        FinalPath = Directory.Exists(full) ? Directory.ResolveLinkTarget(full, returnFinalTarget: true)?.FullName ?? full : full;
        _force = force;
        _own = own;
        RefuseExisting();
        _parent = new OutputFolder(FinalPath);
        Temporary.Sweep(_parent.Path, System.IO.Path.GetFileName(FinalPath));
        Path = Temporary.NameFor(FinalPath);
        try
        {
            _content = new StagedContent(Path, FinalPath);
        }
        catch
        {
            Temporary.Release(Path);
            _parent.RemoveCreated();
            throw;
        }
    }

    /// <summary>Where the folder will stand.</summary>
    public string FinalPath { get; }

    /// <summary>Where it stands until then.</summary>
    public string Path { get; }

    /// <summary>Begins a file by its path inside the folder; dispose or complete the stream when it is written.</summary>
    public DigestStream Create(string name) => _content.Create(name);

    /// <summary>Writes one whole file.</summary>
    public FileDigest Write(string name, ReadOnlySpan<byte> bytes)
    {
        using DigestStream stream = Create(name);
        stream.Write(bytes);
        return stream.Complete();
    }

    /// <summary>Takes over a file that something else wrote below <see cref="Path"/>: syncs it and reads it once for its checksum.</summary>
    public FileDigest Adopt(string name) => _content.Adopt(name);

    /// <summary>Completes every file begun so far; gives their sizes and checksums in the order they were begun.</summary>
    public IReadOnlyList<FileEntry> Complete() => _content.Complete();

    /// <summary>Completes all files and puts the folder in its place.</summary>
    public void Commit()
    {
        _content.Complete();
        _content.SyncFolders();
        RefuseExisting();
        if (!Directory.Exists(FinalPath))
            Rename.Folder(Path, FinalPath);
        else
            Replace();
        _committed = true;
        Temporary.Release(Path);
        _parent.Sync();
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _content.Dispose();
        if (_committed)
            return;
        if (Directory.Exists(Path))
            Directory.Delete(Path, recursive: true);
        Temporary.Release(Path);
        _parent.RemoveCreated();
    }

    private void Replace()
    {
        if (Posix.TryExchange(Path, FinalPath))
        {
            _parent.Sync(); // The new folder must be on disk before the old one goes.
            Temporary.Remove(Path);
            return;
        }
        string aside = Temporary.AsideNameFor(FinalPath);
        Rename.Folder(FinalPath, aside);
        Rename.Folder(Path, FinalPath);
        _parent.Sync();
        Temporary.Remove(aside);
        Temporary.Release(aside);
    }

    private void RefuseExisting()
    {
        if (File.Exists(FinalPath))
            throw new OutputExistsException($"{Text.Quote(FinalPath)} is a file; give the path of a folder.");
        if (!Directory.Exists(FinalPath) || !Directory.EnumerateFileSystemEntries(FinalPath).Any())
            return;
        if (!_force)
            throw OutputExistsException.At(FinalPath);
        if (_own is null)
            return;
        if (!File.Exists(System.IO.Path.Combine(FinalPath, _own[0])))
        {
            throw new OutputExistsException($"{Text.Quote(FinalPath)} holds other things (no {_own[0]}), so --force does not replace it; " +
                "choose another output or remove it yourself.");
        }
        if (Directory.EnumerateFileSystemEntries(FinalPath).Select(System.IO.Path.GetFileName).Where(name => !_own.Contains(name)).Order(StringComparer.Ordinal).FirstOrDefault() is { } foreign)
        {
            throw new OutputExistsException($"{Text.Quote(FinalPath)} also holds {Text.Quote(foreign)}, which is no part of it and would be lost, so --force does not replace it; " +
                "move that away or choose another output.");
        }
    }
}
