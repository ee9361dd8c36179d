using System.Diagnostics;
using SorsaOrt.TestSupport;

namespace SorsaOrt.EndToEnd.Tests;

/// <summary>The built <c>./sorsa</c>, run as a user runs it.</summary>
internal static class Sorsa
{
    /// <summary>Runs to the end.</summary>
    public static CommandOutcome Run(params string[] arguments)
    {
        using var process = Start(arguments);
        var error = process.StandardError.ReadToEndAsync();
        var output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        return new CommandOutcome(process.ExitCode, output, error.GetAwaiter().GetResult());
    }

    /// <summary>Starts a run that the test watches or kills.</summary>
    public static Process Start(params string[] arguments)
    {
        var start = new ProcessStartInfo(Path.Combine(Paths.Repository, "sorsa"))
        {
            RedirectStandardOutput = true,
            RedirectStandardError = true,
            UseShellExecute = false,
        };
        foreach (var argument in arguments)
            start.ArgumentList.Add(argument);
        return Process.Start(start)!;
    }
}

/// <summary>A folder that goes away with the test.</summary>
internal sealed class ScratchFolder : IDisposable
{
    public ScratchFolder() => Path = Directory.CreateTempSubdirectory("sorsaort-").FullName;

    public string Path { get; }

    public string this[string name] => System.IO.Path.Combine(Path, name);

    public void Dispose() => Directory.Delete(Path, recursive: true);
}
