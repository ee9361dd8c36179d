using System.Diagnostics;
using SorsaOrt.TestSupport;
using Xunit;

namespace SorsaOrt.EndToEnd.Tests.Faults;

/// <summary>What goes wrong at a change of the watched folder; faults.c defines them.</summary>
public enum Fault
{
    /// <summary>Nothing.</summary>
    None,
    /// <summary>The process is killed just before the change.</summary>
    Kill,
    /// <summary>The disk is full from the change on.</summary>
    Full,
    /// <summary>The change writes half of its bytes, and the disk is full from then on.</summary>
    Short,
    /// <summary>The change alone fails with an I/O error.</summary>
    Io,
}

/// <summary>The built program with faults.c loaded into it: every change it makes to a folder can be counted, and one of them made to go wrong.</summary>
internal static class FaultyProcess
{
    private static readonly Lazy<string?> Library = new(Compile);

    /// <summary>Skips a test where the library cannot be made.</summary>
    public static void SkipWhereMissing()
    {
        if (Library.Value is null)
            Assert.Skip("faults are made by a small C library, which needs Linux with glibc and cc");
    }

    /// <summary>Runs to the end, or to the kill. The folder's changes count from 1 on.</summary>
    public static CommandOutcome Run(string folder, Fault fault, int at, string? log, params string[] arguments)
    {
        using var process = Start(folder, fault, at, log, arguments);
        var error = process.StandardError.ReadToEndAsync();
        var output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        return new CommandOutcome(process.ExitCode, output, error.GetAwaiter().GetResult());
    }

    /// <summary>The changes that a run without faults makes: "call path", in order.</summary>
    public static string[] Changes(string folder, params string[] arguments)
    {
        var log = Path.GetTempFileName();
        try
        {
            Run(folder, Fault.None, 0, log, arguments).Expect(0);
            return File.ReadAllLines(log);
        }
        finally
        {
            File.Delete(log);
        }
    }

    /// <summary>Starts the program itself, past the script that builds it.</summary>
    public static Process Start(string folder, Fault fault, int at, string? log, params string[] arguments)
    {
        var start = new ProcessStartInfo("dotnet") { RedirectStandardOutput = true, RedirectStandardError = true, UseShellExecute = false };
        foreach (var argument in (string[])["exec", Path.Combine(Paths.Repository, "src", "Cli", "bin", "Release", "net10.0", "sorsa.dll"), .. arguments])
            start.ArgumentList.Add(argument);
        if (fault != Fault.None || log is not null)
        {
            start.Environment["LD_PRELOAD"] = Library.Value!;
            start.Environment["FAULT_FOLDER"] = Path.TrimEndingDirectorySeparator(folder);
            start.Environment["FAULT_AT"] = at.ToString(System.Globalization.CultureInfo.InvariantCulture);
            start.Environment["FAULT_KIND"] = fault.ToString().ToLowerInvariant();
            if (log is not null)
                start.Environment["FAULT_LOG"] = log;
        }
        return Process.Start(start)!;
    }

    private static string? Compile()
    {
        if (!OperatingSystem.IsLinux())
            return null;
        var source = Path.Combine(Paths.Repository, "tests", "EndToEnd.Tests", "Faults", "faults.c");
        var library = Path.Combine(AppContext.BaseDirectory, "faults.so");
        try
        {
            using var cc = Process.Start(new ProcessStartInfo("cc", ["-O1", "-shared", "-fPIC", "-o", library, source, "-ldl", "-lpthread"]) { RedirectStandardError = true })!;
            cc.StandardError.ReadToEnd();
            cc.WaitForExit();
            return cc.ExitCode == 0 ? library : null;
        }
        catch (System.ComponentModel.Win32Exception)
        {
            return null; // No compiler.
        }
    }
}
