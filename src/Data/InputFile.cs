namespace SorsaOrt.Data;

/// <summary>Opens a file someone else wrote: a regular one, not empty, never a pipe that would wait for a writer.</summary>
internal static class InputFile
{
    /// <summary>Opens <paramref name="path"/> for reading.</summary>
    /// <param name="path">The file.</param>
    /// <param name="what">What it should be, for the message: "data file", "tokenizer".</param>
    /// <param name="maxBytes">Largest size accepted.</param>
    public static FileStream Open(string path, string what, long maxBytes = long.MaxValue)
    {
        try
        {
            if (Directory.Exists(path))
                throw new DataFormatException(path, $"this is a folder, not a {what}", "Name the file inside it.");
            if (!File.Exists(path))
                throw new DataFormatException(path, "there is no such file", $"Check the path of the {what}.");
            // A pipe or a device has no length, and opening it could wait for ever: it is told apart before it is opened.
            var target = File.ResolveLinkTarget(path, returnFinalTarget: true);
            long length = target is null ? new FileInfo(path).Length : new FileInfo(target.FullName).Length;
            if (length == 0)
                throw new DataFormatException(path, "the file is empty, or not a regular file", $"Give a {what} with content.");
            if (length > maxBytes)
                throw new DataFormatException(path, $"{length} bytes are more than a {what} may have ({maxBytes})", "Check that this is the file you mean.");
            return new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.Read, bufferSize: 1 << 16);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or ArgumentException or NotSupportedException)
        {
            throw new DataFormatException(path, $"the file cannot be opened ({e.Message.TrimEnd('.')})", "Check the path and the permissions.", e);
        }
    }

    /// <summary>The whole of a small file.</summary>
    public static byte[] ReadAll(string path, string what, long maxBytes)
    {
        using var stream = Open(path, what, maxBytes);
        try
        {
            byte[] bytes = new byte[checked((int)stream.Length)];
            stream.ReadExactly(bytes);
            return bytes;
        }
        catch (IOException e)
        {
            throw new DataFormatException(path, $"the file cannot be read ({e.Message.TrimEnd('.')})", "Check the disk and try again.", e);
        }
    }
}
