namespace SorsaOrt.Artifacts;

/// <summary>Paths inside an artifact or checkpoint folder: segments joined by '/', never leaving the folder.</summary>
public static class RelativePath
{
    /// <summary>Longest path accepted, in characters.</summary>
    public const int MaxLength = 1024;

    /// <summary>True for a path without empty, '.' or '..' segments, roots, drive letters, backslashes or control characters.</summary>
    public static bool IsInside(string path) =>
        path.Length is > 0 and <= MaxLength
        && !path.Any(c => c is '\\' or ':' || char.IsControl(c))
        && path.Split('/').All(segment => segment is not ("" or "." or ".."));

    /// <summary>The full path below <paramref name="folder"/>.</summary>
    /// <exception cref="ArgumentException">The path would leave the folder.</exception>
    public static string Below(string folder, string path) =>
        IsInside(path)
            ? Path.Combine(folder, path.Replace('/', Path.DirectorySeparatorChar))
            : throw new ArgumentException($"{Text.Quote(path)} is not a plain relative path inside {Text.Quote(folder)}.", nameof(path));
}
