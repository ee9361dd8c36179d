using System.Runtime.CompilerServices;

namespace SorsaOrt.TestSupport;

/// <summary>Where tests find their files.</summary>
public static class Paths
{
    /// <summary>Root of the checkout.</summary>
    public static string Repository { get; } = FindRepository();

    /// <summary>The folder of large shared inputs beside the checkout, or null where it is absent.</summary>
    public static string? SharedOrNull { get; } =
        new[] { Environment.GetEnvironmentVariable("SORSAORT_SHARED"), Path.Combine(Repository, "..", "shared") }
            .FirstOrDefault(p => p is not null && File.Exists(Path.Combine(p, "cli.md")));

    /// <summary>A file of tests/Fixtures.</summary>
    public static string Fixture(params ReadOnlySpan<string> parts) => Path.Combine([Repository, "tests", "Fixtures", .. parts]);

    /// <summary>A file of samples/tiny-math.</summary>
    public static string TinyMath(string name) => Path.Combine(Repository, "samples", "tiny-math", name);

    /// <summary>A file of the shared folder; call <see cref="SharedOrNull"/> first and skip where it is null.</summary>
    public static string Shared(params ReadOnlySpan<string> parts) =>
        Path.Combine([SharedOrNull ?? throw new InvalidOperationException("../shared is absent: skip the test before asking for it."), .. parts]);

    private static string FindRepository([CallerFilePath] string thisFile = "")
    {
        for (var folder = new DirectoryInfo(AppContext.BaseDirectory); folder is not null; folder = folder.Parent)
        {
            if (File.Exists(Path.Combine(folder.FullName, "SorsaOrt.sln")))
                return folder.FullName;
        }
        return Path.GetFullPath(Path.Combine(Path.GetDirectoryName(thisFile)!, "..", ".."));
    }
}
