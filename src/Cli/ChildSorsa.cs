using System.Diagnostics;
using System.Text;
using System.Text.Json;

namespace SorsaOrt.Cli;

/// <summary>Another <c>sorsa</c> process: its peak memory is its own, and it ends with its work.</summary>
internal static class ChildSorsa
{
    /// <summary>Runs a verb with <c>--json</c> to its end; its progress goes to our stderr.</summary>
    /// <returns>The exit code, and the JSON object of its results (null where it ended early).</returns>
    public static (int ExitCode, JsonElement? Result) Run(IReadOnlyList<string> arguments)
    {
        var start = new ProcessStartInfo(Environment.ProcessPath!) { RedirectStandardOutput = true, UseShellExecute = false, StandardOutputEncoding = Encoding.UTF8 };
        // Under `dotnet exec` the process is dotnet and the program its first argument.
        if (Path.GetFileNameWithoutExtension(Environment.ProcessPath!) == "dotnet")
        {
            start.ArgumentList.Add("exec");
            start.ArgumentList.Add(typeof(ChildSorsa).Assembly.Location);
        }
        foreach (var argument in arguments.Append("--json"))
            start.ArgumentList.Add(argument);
        using var process = Process.Start(start) ?? throw new IOException("a process of sorsa could not be started.");
        var output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        var last = output.TrimEnd().Split('\n')[^1];
        return (process.ExitCode, process.ExitCode == ExitCode.Done ? JsonDocument.Parse(last).RootElement.Clone() : null);
    }
}
