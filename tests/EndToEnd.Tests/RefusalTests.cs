using SorsaOrt.TestSupport;
using Xunit;

namespace SorsaOrt.EndToEnd.Tests;

/// <summary>Bad input: exit code 2, one paragraph that names the fault, nothing left behind.</summary>
public sealed class RefusalTests
{
    [Theory]
    [InlineData("no-such-file.onnx", "--rank", "8", "no-such-file.onnx")]
    [InlineData("", "--rank", "33", "k_proj")]
    [InlineData("", "--rank", "0", "--rank")]
    [InlineData("", "--rank", "abc", "rank")]
    [InlineData("", "--alpha", "nan", "alpha")]
    [InlineData("", "--targets", "no_such_proj", "no_such_proj")]
    [InlineData("", "--targets", "q_proj,no_such_proj", "no_such_proj")]
    [InlineData("", "--targets", "lm_head", "tied")]
    [InlineData("", "--no-such-option", "1", "no-such-option")]
    [InlineData("", "--factors", "missing.safetensors", "missing.safetensors")]
    public void BuildArtifacts_RefusesInWords_AndLeavesNothing(string model, string option, string value, string named)
    {
        using var scratch = new ScratchFolder();
        string[] rank = option == "--rank" ? [] : ["--rank", "4"];
        var outcome = Sorsa.Run(["build-artifacts", "--model", model.Length == 0 ? Goldens.Model : model, "--out", scratch["artifacts"], option, value, .. rank]).Expect(2);
        Assert.Contains(named, outcome.Error, StringComparison.Ordinal);
        Assert.DoesNotContain("   at SorsaOrt", outcome.Error, StringComparison.Ordinal);
        Assert.Empty(Directory.EnumerateFileSystemEntries(scratch.Path));
    }

    [Fact]
    public void BadRow_IsRefusedByItsLine_AndNoRunBegins()
    {
        using var scratch = new ScratchFolder();
        Sorsa.Run("build-artifacts", "--model", Goldens.Model, "--out", scratch["artifacts"], "--rank", "4").Expect(0);
        File.WriteAllText(scratch["rows.jsonl"], "{\"input_ids\": [1, 2, 3], \"labels\": [-100, 2, 3]}\n{\"input_ids\": [1, 2], \"labels\": [1]}\n");
        var outcome = Sorsa.Run("train", "--artifacts", scratch["artifacts"], "--data", scratch["rows.jsonl"], "--out", scratch["run"]).Expect(2);
        Assert.Contains("line 2", outcome.Error, StringComparison.Ordinal);
        Assert.False(Directory.Exists(scratch["run"]));
    }

    [Fact]
    public void CheckpointOfAnotherModel_IsRefused()
    {
        using var scratch = new ScratchFolder();
        Goldens.WriteRows(scratch["rows.jsonl"]);
        Sorsa.Run("build-artifacts", "--model", Goldens.Model, "--out", scratch["mine"], "--rank", "4").Expect(0);
        Sorsa.Run("build-artifacts", "--model", Paths.TinyMath("model.onnx"), "--out", scratch["other"], "--rank", "4").Expect(0);
        Sorsa.Run("train", "--artifacts", scratch["mine"], "--data", scratch["rows.jsonl"], "--out", scratch["run"], "--max-steps", "1",
            "--accumulation", "1", "--max-length", "48").Expect(0);
        Sorsa.Run("merge", "--artifacts", scratch["other"], "--checkpoint", scratch["run"], "--out", scratch["merged.onnx"]).Expect(2);
        Assert.False(File.Exists(scratch["merged.onnx"]));
    }

    [Fact]
    public void ExistingOutput_IsNotReplacedUnasked()
    {
        using var scratch = new ScratchFolder();
        File.WriteAllText(scratch["artifacts"], "keep me");
        var outcome = Sorsa.Run("build-artifacts", "--model", Goldens.Model, "--out", scratch["artifacts"], "--rank", "4");
        Assert.NotEqual(0, outcome.ExitCode);
        Assert.Equal("keep me", File.ReadAllText(scratch["artifacts"]));
    }
}
