using System.ComponentModel;
using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace SorsaOrt.Ir.Serialization;

/// <summary>
/// Resolves the paths that a model gives for its external data, for reading and for writing. Nothing else in the product turns
/// a location out of a model into a path.
/// </summary>
/// <remarks>
/// A location stays inside the model's folder, also after every symbolic link is followed. One exception: in a model hub's cache
/// the model and its data are links into one folder named <c>blobs</c>; there the data may lie beside the model's own file.
/// </remarks>
public static partial class ExternalPath
{
    private const string MemoryMarker = "_ORT_MEM_ADDR_";

    /// <summary>Opens the data file at <paramref name="location"/> of the model at <paramref name="modelPath"/>.</summary>
    /// <returns>The path for messages, and the open file.</returns>
    /// <exception cref="ModelFormatException">The location leaves the folder, or there is no regular file.</exception>
    public static (string Path, FileStream Stream) OpenForReading(string modelPath, string location)
    {
        Check(location);
        var folder = RealPath(Path.GetDirectoryName(Path.GetFullPath(modelPath))!);
        var path = Path.Combine(folder, location.Replace('/', Path.DirectorySeparatorChar));
        var stream = OpenRegularFile(path, $"the data file {Quoted.Text(location)}");
        try
        {
            var real = OpenedPath(stream.SafeFileHandle) ?? RealPath(path);
            if (!IsInside(folder, real) && !IsBlobBeside(modelPath, real))
                throw new ModelFormatException($"the external location {Quoted.Text(location)} leads out of the model's folder through a link");
            return (path, stream);
        }
        catch
        {
            stream.Dispose();
            throw;
        }
    }

    /// <summary>The path to write external data for <paramref name="location"/> to, in <paramref name="folder"/>; its folder is made.</summary>
    /// <exception cref="ModelFormatException">The location leaves the folder.</exception>
    public static string ForWriting(string folder, string location)
    {
        Check(location);
        var root = RealPath(Path.GetFullPath(folder));
        var path = Path.Combine(root, location.Replace('/', Path.DirectorySeparatorChar));
        var parent = root;
        foreach (var part in location.Split('/')[..^1])
        {
            parent = RealPath(Directory.CreateDirectory(Path.Combine(parent, part)).FullName);
            if (!IsInside(root, parent))
                throw new ModelFormatException($"the external location {Quoted.Text(location)} leads out of the folder through a link");
        }
        if (new FileInfo(path).LinkTarget is not null || Directory.Exists(path))
            throw new ModelFormatException($"the external location {Quoted.Text(location)} is taken by a link or a folder");
        return path;
    }

    /// <summary>Refuses a location that is not a plain relative path below the model's folder.</summary>
    public static void Check(string location)
    {
        string? wrong = null;
        if (location.Length == 0)
            wrong = "is empty";
        else if (location.Length > FormatLimits.LocationCharacters)
            wrong = $"has {location.Length} characters";
        else if (location.Any(char.IsControl))
            wrong = "holds a control character";
        else if (location.Contains(MemoryMarker, StringComparison.Ordinal))
            wrong = "is a marker of ONNX Runtime's own memory, which has no meaning in a file";
        else if (location.Contains('\\', StringComparison.Ordinal))
            wrong = "holds a backslash; folders are divided by '/'";
        else if (location.Contains(':', StringComparison.Ordinal))
            wrong = "is a drive or a URI, not a path below the model's folder";
        else if (location[0] == '/' || Path.IsPathRooted(location))
            wrong = "is an absolute path";
        else if (location.Split('/').Any(part => part is ".." or ""))
            wrong = "does not name a file below the model's folder";
        if (wrong is not null)
            throw new ModelFormatException($"the external location {Quoted.Text(location)} {wrong}");
    }

    /// <summary>Opens the model file itself: links are followed, but only to a regular file.</summary>
    internal static FileStream OpenModel(string path) => OpenRegularFile(path, "the model file");

    private static FileStream OpenRegularFile(string path, string what)
    {
        if (Directory.Exists(path))
            throw new ModelFormatException($"{what} is a directory");
        try
        {
            var handle = OperatingSystem.IsWindows()
                ? File.OpenHandle(path, FileMode.Open, FileAccess.Read, FileShare.Read)
                : OpenWithoutWaiting(path);
            var stream = new FileStream(handle, FileAccess.Read, bufferSize: 0);
            if (stream.CanSeek && (File.GetAttributes(handle) & (FileAttributes.Directory | FileAttributes.Device)) == 0 && !IsDevice(handle))
                return stream;
            stream.Dispose();
            throw new ModelFormatException($"{what} is not a regular file");
        }
        catch (Exception e) when (e is FileNotFoundException or DirectoryNotFoundException)
        {
            throw new ModelFormatException($"{what} does not exist", e);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or ArgumentException or NotSupportedException)
        {
            throw new ModelFormatException($"{what} cannot be opened: {e.Message}", e);
        }
    }

    // open(2) of a named pipe waits for a writer unless it is told not to, and .NET cannot tell it.
    private static SafeFileHandle OpenWithoutWaiting(string path)
    {
        var (nonBlocking, closeOnExec) = OperatingSystem.IsMacOS() ? (0x4, 0x1000000) : (0x800, 0x80000);
        var descriptor = Open(path, nonBlocking | closeOnExec);
        if (descriptor >= 0)
            return new SafeFileHandle(descriptor, ownsHandle: true);
        var error = Marshal.GetLastPInvokeError();
        throw error == 2 ? new FileNotFoundException() : new IOException(new Win32Exception(error).Message);
    }

    private static bool IsDevice(SafeFileHandle handle) =>
        OpenedPath(handle) is { } path && (path.StartsWith("/dev/", StringComparison.Ordinal) || path.StartsWith("/proc/", StringComparison.Ordinal));

    // Linux says which file a descriptor really is: no race between a check of the path and its opening.
    private static string? OpenedPath(SafeFileHandle handle) =>
        OperatingSystem.IsLinux() ? new FileInfo($"/proc/self/fd/{handle.DangerousGetHandle()}").LinkTarget : null;

    private static bool IsInside(string folder, string path) =>
        path.StartsWith(Path.EndsInDirectorySeparator(folder) ? folder : folder + Path.DirectorySeparatorChar, StringComparison.Ordinal);

    private static bool IsBlobBeside(string modelPath, string path)
    {
        if (new FileInfo(modelPath).LinkTarget is null)
            return false;
        var blobs = Path.GetDirectoryName(RealPath(Path.GetFullPath(modelPath)))!;
        return Path.GetFileName(blobs) == "blobs" && Path.GetDirectoryName(path) == blobs;
    }

    /// <summary>The path with every symbolic link followed.</summary>
    private static string RealPath(string path)
    {
        var root = Path.GetPathRoot(path)!;
        var pending = new Stack<string>(path[root.Length..].Split(Path.DirectorySeparatorChar, StringSplitOptions.RemoveEmptyEntries).Reverse());
        var real = root;
        for (var links = 0; pending.TryPop(out var part);)
        {
            if (part is "." or "..")
            {
                real = part == "." ? real : Path.GetDirectoryName(real) ?? root;
                continue;
            }
            var next = Path.Combine(real, part);
            var target = new FileInfo(next).LinkTarget;
            if (target is null)
            {
                real = next;
                continue;
            }
            if (++links > FormatLimits.SymbolicLinks)
                throw new ModelFormatException($"{Quoted.Text(path)} leads through more than {FormatLimits.SymbolicLinks} symbolic links");
            if (Path.IsPathRooted(target))
                (real, target) = (Path.GetPathRoot(target)!, target[Path.GetPathRoot(target)!.Length..]);
            foreach (var step in target.Split(Path.DirectorySeparatorChar, StringSplitOptions.RemoveEmptyEntries).Reverse())
                pending.Push(step);
        }
        return real;
    }

    [LibraryImport("libc", EntryPoint = "open", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial int Open(string path, int flags);
}
