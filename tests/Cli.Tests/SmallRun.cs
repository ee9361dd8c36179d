using SorsaOrt.TestSupport;

namespace SorsaOrt.Cli.Tests;

/// <summary>Artifacts of nano-llama at rank 2 and a run of two steps with a checkpoint at each, in a folder of the test's own.</summary>
internal sealed class SmallRun : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    public SmallRun()
    {
        File.WriteAllLines(Data, Enumerable.Range(0, 8).Select(i => $$"""{"input_ids": [1, {{403 + i}}, 407, 261, 378], "labels": [-100, -100, 407, 261, 378]}"""));
        Sorsa.Run("build-artifacts", "--model", Paths.Fixture("nano-llama", "optimum-no-past.onnx"), "--out", Artifacts, "--rank", "2").Expect(0);
        Sorsa.Run("train", "--artifacts", Artifacts, "--data", Data, "--out", Run, "--max-steps", "2", "--batch-size", "2", "--accumulation", "1",
            "--lr", "1e-3", "--warmup", "0", "--save-every", "1", "--threads", "1").Expect(0);
    }

    public string Artifacts => _folder.At("artifacts");

    public string Data => _folder.At("rows.jsonl");

    public string Run => _folder.At("run");

    public string Merged => _folder.At("merged.onnx");

    /// <summary>The folder of checkpoint N.</summary>
    public string Checkpoint(int step) => Path.Combine(Run, "checkpoints", $"step-{step}");

    /// <summary>A path beside them.</summary>
    public string At(string name) => _folder.At(name);

    /// <summary><c>sorsa merge</c> of a checkpoint or run.</summary>
    public CommandOutcome Merge(string checkpoint) => Sorsa.Run("merge", "--artifacts", Artifacts, "--checkpoint", checkpoint, "--out", Merged, "--force");

    /// <summary><c>sorsa train --resume</c>.</summary>
    public CommandOutcome Resume() => Sorsa.Run("train", "--resume", Run);

    public void Dispose() => _folder.Dispose();
}
