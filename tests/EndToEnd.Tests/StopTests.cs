using System.Diagnostics;
using Xunit;

namespace SorsaOrt.EndToEnd.Tests;

/// <summary>Ctrl-C and a request to end: the run saves a checkpoint first and says so with its exit code.</summary>
public sealed class StopTests
{
    [Theory]
    [InlineData("INT")]
    [InlineData("TERM")]
    public async Task Signalled_SavesACheckpoint_WithExitCode130(string signal)
    {
        Assert.SkipWhen(signal == "INT" && IgnoresInterrupts(), "this process was started with SIGINT ignored, as shells start jobs in the background, and what it starts ignores it too");
        var token = TestContext.Current.CancellationToken;
        using var scratch = new ScratchFolder();
        Goldens.WriteRows(scratch["rows.jsonl"]);
        Sorsa.Run("build-artifacts", "--model", Goldens.Model, "--out", scratch["artifacts"], "--rank", "4").Expect(0);
        using var process = Sorsa.Start("train", "--artifacts", scratch["artifacts"], "--data", scratch["rows.jsonl"], "--out", scratch["run"], "--max-steps", "20000",
            "--accumulation", "1", "--batch-size", "2", "--max-length", "32", "--save-every", "20000", "--threads", "1");
        var error = process.StandardError.ReadToEndAsync(token);
        var output = process.StandardOutput.ReadToEndAsync(token);
        // Signals are heard before the first step is counted.
        var metrics = scratch["run/metrics.jsonl"];
        while (!(File.Exists(metrics) && new FileInfo(metrics).Length > 0) && !process.WaitForExit(5))
        {
        }
        using (var kill = Process.Start("kill", ["-s", signal, $"{process.Id}"]))
            await kill.WaitForExitAsync(token);
        await process.WaitForExitAsync(token);
        Assert.True(process.ExitCode == 130, $"exit code {process.ExitCode}\n{await output}{await error}");
        Assert.Single(Directory.GetDirectories(scratch["run/checkpoints"]), path => Path.GetFileName(path).StartsWith("step-", StringComparison.Ordinal));
        Sorsa.Run("merge", "--artifacts", scratch["artifacts"], "--checkpoint", scratch["run"], "--out", scratch["merged.onnx"]).Expect(0);
    }

    private static bool IgnoresInterrupts()
    {
        const string status = "/proc/self/status";
        const int interrupt = 2;
        var ignored = File.Exists(status) ? File.ReadLines(status).FirstOrDefault(l => l.StartsWith("SigIgn:", StringComparison.Ordinal)) : null;
        return ignored is not null && (Convert.ToUInt64(ignored["SigIgn:".Length..].Trim(), 16) >> (interrupt - 1) & 1) != 0;
    }
}
