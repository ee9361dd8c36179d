namespace SorsaOrt.Artifacts;

/// <summary>Files being written into a temporary folder, with their sizes and checksums.</summary>
internal sealed class StagedContent : IDisposable
{
    private readonly string _shownFolder;
    private readonly List<string> _order = [];
    private readonly Dictionary<string, DigestStream> _streams = [];
    private readonly Dictionary<string, FileDigest> _digests = [];

    public StagedContent(string folder, string shownFolder)
    {
        Folder = folder;
        _shownFolder = shownFolder;
        try
        {
            Directory.CreateDirectory(folder);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new IOException($"{Text.Quote(shownFolder)} cannot be written: {e.Message}", e);
        }
    }

    public string Folder { get; }

    public IReadOnlyList<string> Order => _order;

    public DigestStream Create(string name)
    {
        string path = Begin(name);
        return _streams[name] = DigestStream.Create(path, RelativePath.Below(_shownFolder, name));
    }

    public FileDigest Adopt(string name)
    {
        string path = Begin(name);
        using (var file = new FileStream(path, FileMode.Open, FileAccess.ReadWrite))
            Posix.SyncFile(file.SafeFileHandle, RelativePath.Below(_shownFolder, name));
        return _digests[name] = FileDigest.Of(path);
    }

    /// <summary>Completes every file; gives them in the order they were begun.</summary>
    public IReadOnlyList<FileEntry> Complete() =>
        [.. _order.Select(name => _digests.TryGetValue(name, out FileDigest? digest) ? digest.At(name) : _streams[name].Complete().At(name))];

    /// <summary>Flushes the folder and all below it to disk, innermost first.</summary>
    public void SyncFolders()
    {
        foreach (string folder in Directory.GetDirectories(Folder, "*", SearchOption.AllDirectories).OrderByDescending(f => f.Length))
            Posix.SyncFolder(folder);
        Posix.SyncFolder(Folder);
    }

    public void Dispose()
    {
        foreach (DigestStream stream in _streams.Values)
            stream.Abandon();
    }

    private string Begin(string name)
    {
        string path = RelativePath.Below(Folder, name);
        if (_order.Contains(name))
            throw new ArgumentException($"{Text.Quote(name)} is written twice.", nameof(name));
        _order.Add(name);
        Directory.CreateDirectory(Path.GetDirectoryName(path)!);
        return path;
    }
}
