using Xunit;

namespace SorsaOrt.EndToEnd.Tests;

/// <summary>Runs that are killed or interrupted, and what they come to.</summary>
public sealed class ResumeTests
{
    [Fact]
    public void KilledRun_Resumed_EndsInTheSameBytes()
    {
        using var scratch = new ScratchFolder();
        Goldens.WriteRows(scratch["rows.jsonl"]);
        Sorsa.Run("build-artifacts", "--model", Goldens.Model, "--out", scratch["artifacts"], "--rank", "4").Expect(0);
        string[] Train(string run) =>
        [
            "train", "--artifacts", scratch["artifacts"], "--data", scratch["rows.jsonl"], "--out", scratch[run], "--max-steps", "12", "--batch-size", "2",
            "--accumulation", "2", "--max-length", "48", "--lr", "1e-3", "--save-every", "1", "--keep", "100", "--threads", "1", "--seed", "7",
        ];
        Sorsa.Run(Train("whole")).Expect(0);
        using (var process = Sorsa.Start(Train("killed")))
        {
            _ = process.StandardError.ReadToEndAsync(TestContext.Current.CancellationToken);
            _ = process.StandardOutput.ReadToEndAsync(TestContext.Current.CancellationToken);
            while (!Directory.Exists(Path.Combine(scratch["killed"], "checkpoints", "step-3")) && !process.WaitForExit(5))
            {
            }
            process.Kill();
            process.WaitForExit();
        }
        Sorsa.Run("train", "--resume", scratch["killed"]).Expect(0);

        foreach (var file in new[] { "parameters.safetensors", "optimizer.safetensors" })
        {
            var last = Path.Combine("checkpoints", "step-12", file);
            Assert.Equal(File.ReadAllBytes(Path.Combine(scratch["whole"], last)), File.ReadAllBytes(Path.Combine(scratch["killed"], last)));
        }
        Assert.Equal(Enumerable.Range(1, 12), Goldens.Steps(scratch["killed"]).Select(s => s.GetProperty("step").GetInt32()));
    }
}
