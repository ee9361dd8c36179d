using System.ComponentModel;
using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace SorsaOrt.Artifacts;

/// <summary>The system calls .NET has no method for: a folder's fsync, an atomic exchange of two folders, opening without waiting, dropping mapped pages.</summary>
internal static partial class Posix
{
    private const int ReadOnly = 0;
    private const int AtCurrentFolder = -100;
    private const uint Exchange = 2;
    private const int DontNeed = 4;

    private static int NonBlocking => OperatingSystem.IsMacOS() ? 0x4 : 0x800;

    private static int CloseOnExec => OperatingSystem.IsMacOS() ? 0x1000000 : 0x80000;

    /// <summary>Opens a file for reading; a pipe without a writer opens at once instead of waiting.</summary>
    public static int OpenRead(string path)
    {
        int descriptor = Open(path, ReadOnly | NonBlocking | CloseOnExec, 0);
        return descriptor >= 0 ? descriptor : throw LastError($"{Text.Quote(path)} cannot be opened");
    }

    /// <summary>Makes a file's bytes survive a power cut.</summary>
    /// <remarks>On Linux not through .NET, which drops what fsync answers: a lost write would be taken for a kept one (seen with .NET 10.0.12, FileStream.Flush and
    /// RandomAccess.FlushToDisk). EINVAL and EROFS come from files that cannot be synced, such as pipes.</remarks>
    /// <exception cref="IOException">The system could not write; it is said once only.</exception>
    public static void SyncFile(SafeFileHandle file, string shownPath)
    {
        if (!OperatingSystem.IsLinux())
        {
            RandomAccess.FlushToDisk(file);
            return;
        }
        while (Sync(file) != 0)
        {
            const int Interrupted = 4, Invalid = 22, ReadOnlyFileSystem = 30;
            int error = Marshal.GetLastPInvokeError();
            if (error is Invalid or ReadOnlyFileSystem)
                return;
            if (error != Interrupted)
                throw LastError($"{Text.Quote(shownPath)} cannot be flushed to disk");
        }
    }

    /// <summary>Makes the names in a folder survive a power cut. Nothing to do on Windows.</summary>
    public static void SyncFolder(string folder)
    {
        if (OperatingSystem.IsWindows())
            return;
        int descriptor = OpenRead(folder);
        try
        {
            // Some network file systems cannot sync a folder (EINVAL): the data itself is synced already.
            if (Sync(descriptor) != 0 && Marshal.GetLastPInvokeError() != 22)
                throw LastError($"the folder {Text.Quote(folder)} cannot be flushed to disk");
        }
        finally
        {
            _ = Close(descriptor);
        }
    }

    /// <summary>Gives a file another name in the same file system, in one step, over a file that has it.</summary>
    public static void Rename(string from, string to)
    {
        if (RenameFile(from, to) != 0)
            throw LastError("rename");
    }

    /// <summary>Exchanges two names in one step; false where the system or the file system cannot.</summary>
    public static bool TryExchange(string a, string b)
    {
        if (!OperatingSystem.IsLinux())
            return false;
        try
        {
            return RenameAt2(AtCurrentFolder, a, AtCurrentFolder, b, Exchange) == 0;
        }
        catch (EntryPointNotFoundException)
        {
            return false;
        }
    }

    /// <summary>Takes whole pages of a read-only file mapping out of memory; they come in again when touched. Only advice: failing is no harm.</summary>
    public static void DropPages(nint start, nint length)
    {
        if (!OperatingSystem.IsWindows())
            _ = Advise(start, length, DontNeed);
    }

    private static IOException LastError(string what) => new($"{what}: {new Win32Exception(Marshal.GetLastPInvokeError()).Message}.");

    [LibraryImport("libc", EntryPoint = "open", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int Open(string path, int flags, int mode);

    [LibraryImport("libc", EntryPoint = "fsync", SetLastError = true)]
    private static partial int Sync(SafeFileHandle file);

    [LibraryImport("libc", EntryPoint = "fsync", SetLastError = true)]
    private static partial int Sync(int descriptor);

    [LibraryImport("libc", EntryPoint = "close")]
    private static partial int Close(int descriptor);

    [LibraryImport("libc", EntryPoint = "madvise")]
    private static partial int Advise(nint start, nint length, int advice);

    [LibraryImport("libc", EntryPoint = "rename", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int RenameFile(string oldPath, string newPath);

    [LibraryImport("libc", EntryPoint = "renameat2", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int RenameAt2(int oldFolder, string oldPath, int newFolder, string newPath, uint flags);
}
