using System.Collections.Concurrent;
using System.Diagnostics;
using System.Globalization;
using System.Text.RegularExpressions;

namespace SorsaOrt.Artifacts;

/// <summary>Names of unfinished outputs, <c>.NAME.PID-XXXXXXXX.sorsa-tmp</c> beside the final name, and the sweeping of those left by dead processes.</summary>
/// <remarks>A folder set aside while its replacement moves in ends in <c>.sorsa-old</c>; where the final name is missing it is moved back.</remarks>
public static partial class Temporary
{
    private const string Unfinished = "sorsa-tmp";
    private const string SetAside = "sorsa-old";
    private static readonly ConcurrentDictionary<string, bool> Mine = new();

    /// <summary>A fresh name for the unfinished form of <paramref name="finalPath"/>, in the same folder.</summary>
    internal static string NameFor(string finalPath) => Name(finalPath, Unfinished);

    /// <summary>A name to set the old form of <paramref name="finalPath"/> aside under.</summary>
    internal static string AsideNameFor(string finalPath) => Name(finalPath, SetAside);

    /// <summary>Says that a name of this process is done with.</summary>
    internal static void Release(string path) => Mine.TryRemove(path, out _);

    /// <summary>Removes what dead processes left in a folder, for one final name or for all; restores a folder set aside half-way.</summary>
    /// <returns>The number of entries removed or restored.</returns>
    public static int Sweep(string folder, string? finalName = null)
    {
        if (!Directory.Exists(folder))
            return 0;
        int count = 0;
        foreach (string entry in Directory.GetFileSystemEntries(folder))
        {
            Match match = Pattern().Match(Path.GetFileName(entry));
            if (!match.Success || (finalName is not null && match.Groups["name"].Value != finalName) || IsInUse(entry, match.Groups["pid"].Value))
                continue;
            string final = Path.Combine(folder, match.Groups["name"].Value);
            if (match.Groups["kind"].Value == SetAside && !Path.Exists(final))
                Rename.Folder(entry, final);
            else
                Remove(entry);
            count++;
        }
        return count;
    }

    /// <summary>Deletes a file or folder; a link is removed, not what it points to.</summary>
    internal static void Remove(string path)
    {
        if (Directory.Exists(path) && new DirectoryInfo(path).LinkTarget is null)
            Directory.Delete(path, recursive: true);
        else
            File.Delete(path);
    }

    private static string Name(string finalPath, string kind)
    {
        string full = Path.GetFullPath(finalPath);
        string unique = Guid.NewGuid().ToString("N")[..8];
        string name = string.Create(CultureInfo.InvariantCulture, $".{Path.GetFileName(full)}.{Environment.ProcessId}-{unique}.{kind}");
        string path = Path.Combine(Path.GetDirectoryName(full)!, name);
        Mine[path] = true;
        return path;
    }

    /// <summary>True while its maker runs: this process, or one with that number that started before the entry was last written.</summary>
    private static bool IsInUse(string entry, string pid)
    {
        if (!int.TryParse(pid, NumberStyles.None, CultureInfo.InvariantCulture, out int id))
            return false;
        if (id == Environment.ProcessId)
            return Mine.ContainsKey(Path.GetFullPath(entry));
        try
        {
            using Process process = Process.GetProcessById(id);
            return process.StartTime.ToUniversalTime() <= File.GetLastWriteTimeUtc(entry).AddSeconds(5);
        }
        catch (ArgumentException)
        {
            return false;
        }
        catch (Exception e) when (e is InvalidOperationException or System.ComponentModel.Win32Exception)
        {
            return true; // It exists but may not be looked at.
        }
    }

    [GeneratedRegex(@"^\.(?<name>.+)\.(?<pid>[0-9]{1,10})-[0-9a-f]{8}\.(?<kind>sorsa-tmp|sorsa-old)\z", RegexOptions.Singleline | RegexOptions.NonBacktracking)]
    private static partial Regex Pattern();
}
