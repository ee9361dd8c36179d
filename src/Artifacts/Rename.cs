namespace SorsaOrt.Artifacts;

/// <summary>The last act of writing an output: from its temporary name to its own.</summary>
internal static class Rename
{
    /// <summary>A file.</summary>
    /// <exception cref="IOException">With the final path, the cause and what to do.</exception>
    /// <remarks>Not File.Move outside Windows: where a rename fails it copies, and the file would stand under its name before it is whole.</remarks>
    public static void File(string from, string to, bool overwrite) => Attempt(to, () =>
    {
        if (OperatingSystem.IsWindows())
            System.IO.File.Move(from, to, overwrite);
        else if (!overwrite && Path.Exists(to))
            throw new IOException("it exists already.");
        else
            Posix.Rename(from, to);
    });

    /// <summary>A folder; there must be none at <paramref name="to"/>.</summary>
    /// <exception cref="IOException">With the final path, the cause and what to do.</exception>
    public static void Folder(string from, string to) => Attempt(to, () => Directory.Move(from, to));

    private static void Attempt(string to, Action move)
    {
        try
        {
            move();
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new IOException($"{Text.Quote(to)} cannot be put in its place: {e.Message} Check free space and permissions.", e);
        }
    }
}
