using Microsoft.Win32.SafeHandles;

namespace SorsaOrt.Artifacts;

/// <summary>Opens files to read that must be regular: never waits for the writer of a pipe, never reads a device or a folder.</summary>
public static class RegularFile
{
    /// <summary>Opens the file for reading, unbuffered. Links are followed.</summary>
    /// <exception cref="IOException">Absent, unreadable, or not a regular file; the message names the path.</exception>
    public static FileStream OpenRead(string path)
    {
        if (Directory.Exists(path))
            throw new FileNotFoundException($"{Text.Quote(path)} is a directory, not a file.", path);
        if (!File.Exists(path))
            throw new FileNotFoundException($"{Text.Quote(path)} does not exist.", path);
        FileStream stream;
        try
        {
            stream = OperatingSystem.IsWindows()
                ? new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.Read, bufferSize: 0)
                : new FileStream(new SafeFileHandle(Posix.OpenRead(path), ownsHandle: true), FileAccess.Read, bufferSize: 0);
        }
        catch (UnauthorizedAccessException e)
        {
            throw new IOException($"{Text.Quote(path)} cannot be read: {e.Message}", e);
        }
        if (stream.CanSeek)
            return stream;
        stream.Dispose();
        throw new FileNotFoundException($"{Text.Quote(path)} is not a regular file (a pipe, socket or device).", path);
    }
}
