using System.Diagnostics;
using System.Text.Json;
using SorsaOrt.TestSupport;
using Xunit;

namespace SorsaOrt.EndToEnd.Tests;

/// <summary>The built <c>./sorsa</c>, run as a user runs it.</summary>
internal static class Sorsa
{
    /// <summary>What one run printed and how it ended.</summary>
    public sealed record Outcome(int ExitCode, string Out, string Error)
    {
        /// <summary>The JSON object on the last line of stdout.</summary>
        public JsonElement Json => JsonDocument.Parse(Out.TrimEnd().Split('\n')[^1]).RootElement;

        /// <summary>This outcome, when the exit code is <paramref name="code"/>; otherwise fails with what was printed.</summary>
        public Outcome Expect(int code)
        {
            Assert.True(ExitCode == code, $"exit code {ExitCode}, expected {code}\nstdout:\n{Out}\nstderr:\n{Error}");
            return this;
        }
    }

    /// <summary>Runs to the end.</summary>
    public static Outcome Run(params string[] arguments)
    {
        using var process = Start(arguments);
        var error = process.StandardError.ReadToEndAsync();
        var output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        return new Outcome(process.ExitCode, output, error.GetAwaiter().GetResult());
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
