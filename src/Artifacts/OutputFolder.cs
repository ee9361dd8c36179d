namespace SorsaOrt.Artifacts;

/// <summary>The folder an output goes into: made when missing, and taken away again when the output is given up.</summary>
internal sealed class OutputFolder
{
    private readonly List<string> _created = [];

    /// <summary>Makes the folder of <paramref name="finalPath"/> and its parents where they are missing.</summary>
    public OutputFolder(string finalPath)
    {
        Path = System.IO.Path.GetDirectoryName(System.IO.Path.GetFullPath(finalPath))
            ?? throw new IOException($"{Text.Quote(finalPath)} cannot be an output: it is the root of a drive.");
        for (string? folder = Path; folder is not null && !Directory.Exists(folder); folder = System.IO.Path.GetDirectoryName(folder))
            _created.Add(folder);
        try
        {
            Directory.CreateDirectory(Path);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            RemoveCreated();
            throw new IOException($"the folder {Text.Quote(Path)} cannot be made: {e.Message}", e);
        }
    }

    /// <summary>Refuses the path of an output file that names a folder.</summary>
    public static void RefuseFolder(string path)
    {
        if (System.IO.Path.EndsInDirectorySeparator(path) || Directory.Exists(path))
            throw new OutputExistsException($"{Text.Quote(path)} is a directory; give the path of a file.");
    }

    /// <summary>Full path.</summary>
    public string Path { get; }

    /// <summary>Flushes the folder, and the parents of those that were made, to disk.</summary>
    public void Sync()
    {
        Posix.SyncFolder(Path);
        foreach (string created in _created)
        {
            if (System.IO.Path.GetDirectoryName(created) is { } parent)
                Posix.SyncFolder(parent);
        }
    }

    /// <summary>Removes the folders made here that are still empty.</summary>
    public void RemoveCreated()
    {
        foreach (string folder in _created)
        {
            if (Directory.Exists(folder) && !Directory.EnumerateFileSystemEntries(folder).Any())
                Directory.Delete(folder);
        }
    }
}
