namespace SorsaOrt.Artifacts;

/// <summary>Several files that belong together, such as a model and its external data, put into one folder together.</summary>
/// <remarks>Until <see cref="Commit"/> they lie under their final names in a temporary folder, where they can be opened and checked.
/// The main file is moved last, so it never stands without the others; replacing (force) is atomic for each file, not for the set.</remarks>
public sealed class StagedFiles : IDisposable
{
    private readonly OutputFolder _parent;
    private readonly StagedContent _content;
    private readonly string _mainName;
    private readonly bool _force;

    /// <summary>Begins the set whose main file will stand at <paramref name="mainPath"/>.</summary>
    public StagedFiles(string mainPath, bool force = false)
    {
        FinalPath = Path.GetFullPath(mainPath);
        _mainName = Path.GetFileName(FinalPath);
        _force = force;
        Refuse(FinalPath);
        _parent = new OutputFolder(FinalPath);
        Temporary.Sweep(_parent.Path, _mainName);
        Folder = Temporary.NameFor(FinalPath);
        try
        {
            _content = new StagedContent(Folder, _parent.Path);
        }
        catch
        {
            Temporary.Release(Folder);
            _parent.RemoveCreated();
            throw;
        }
    }

    /// <summary>Where the main file will stand.</summary>
    public string FinalPath { get; }

    /// <summary>Where the files lie until <see cref="Commit"/>.</summary>
    public string Folder { get; }

    /// <summary>Begins a file by its path beside the main file; an existing one is refused unless forced.</summary>
    public DigestStream Create(string name)
    {
        Refuse(RelativePath.Below(_parent.Path, name));
        return _content.Create(name);
    }

    /// <summary>Takes over a file that something else wrote below <see cref="Folder"/>.</summary>
    public FileDigest Adopt(string name)
    {
        Refuse(RelativePath.Below(_parent.Path, name));
        return _content.Adopt(name);
    }

    /// <summary>Completes all files without moving them, so that they can be checked; gives their sizes and checksums.</summary>
    public IReadOnlyList<FileEntry> Complete() => _content.Complete();

    /// <summary>Completes all files and moves them to their places, the main file last.</summary>
    public IReadOnlyList<FileEntry> Commit()
    {
        if (!_content.Order.Contains(_mainName))
            throw new InvalidOperationException($"{Text.Quote(_mainName)} was not written.");
        IReadOnlyList<FileEntry> files = _content.Complete();
        foreach (FileEntry file in files)
            Refuse(RelativePath.Below(_parent.Path, file.Path));
        foreach (FileEntry file in files.OrderBy(f => f.Path == _mainName))
        {
            string target = RelativePath.Below(_parent.Path, file.Path);
            Directory.CreateDirectory(Path.GetDirectoryName(target)!);
            if (file.Path == _mainName)
                Posix.SyncFolder(_parent.Path);
            Rename.File(RelativePath.Below(Folder, file.Path), target, overwrite: _force);
        }
        _parent.Sync();
        return files;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _content.Dispose();
        if (Directory.Exists(Folder))
            Directory.Delete(Folder, recursive: true);
        Temporary.Release(Folder);
        _parent.RemoveCreated();
    }

    private void Refuse(string path)
    {
        OutputFolder.RefuseFolder(path);
        if (!_force && File.Exists(path))
            throw OutputExistsException.At(path);
    }
}
