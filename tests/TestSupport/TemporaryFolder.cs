namespace SorsaOrt.TestSupport;

/// <summary>A fresh folder below the system's temporary one, deleted at the end.</summary>
public sealed class TemporaryFolder : IDisposable
{
    /// <summary>Full path.</summary>
    public string Path { get; } = Directory.CreateTempSubdirectory("sorsa-test-").FullName;

    /// <summary>A path below the folder.</summary>
    public string At(params ReadOnlySpan<string> parts) => System.IO.Path.Combine([Path, .. parts]);

    /// <summary>Every file and folder below, relative, in ordinal order.</summary>
    public IReadOnlyList<string> Everything() =>
        [.. Directory.GetFileSystemEntries(Path, "*", SearchOption.AllDirectories).Select(p => System.IO.Path.GetRelativePath(Path, p)).Order(StringComparer.Ordinal)];

    /// <inheritdoc/>
    public void Dispose()
    {
        if (Directory.Exists(Path))
            Directory.Delete(Path, recursive: true);
    }
}
