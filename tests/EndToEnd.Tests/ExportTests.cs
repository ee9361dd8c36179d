using SorsaOrt.Export.Tests;
using SorsaOrt.TestSupport;
using Xunit;

namespace SorsaOrt.EndToEnd.Tests;

/// <summary>sorsa export, and that what it writes goes the whole way like any exporter's model.</summary>
public sealed class ExportTests
{
    [Fact]
    public void ExportedModel_TrainsAsTheOptimumExport_AndMerges()
    {
        using var scratch = new ScratchFolder();
        Goldens.WriteRows(scratch["rows.jsonl"]);
        ModelFolder.NanoLlama(scratch["nano"]);
        var expected = Losses(scratch, Goldens.Model, "optimum");
        foreach (var (name, options) in new[] { ("plain", Array.Empty<string>()), ("cached", ["--kv-cache"]) })
        {
            var model = scratch[name + ".onnx"];
            var report = Sorsa.Run(["export", "--from", scratch["nano"], "--out", model, "--json", .. options]).Expect(0).Json;
            Assert.Equal(("Llama", 260032, new FileInfo(model).Length), (report.GetProperty("architecture").GetString(), report.GetProperty("parameters").GetInt64(), report.GetProperty("bytes").GetInt64()));
            var inspected = Sorsa.Run("inspect", "--model", model, "--json").Expect(0).Json;
            Assert.StartsWith("sorsa export", inspected.GetProperty("family").GetString(), StringComparison.Ordinal);
            Assert.All(expected.Zip(Losses(scratch, model, name)), pair => Assert.Equal(pair.First, pair.Second, 1e-5));
            Sorsa.Run("merge", "--artifacts", scratch[name + "-artifacts"], "--checkpoint", scratch[name + "-run"], "--out", scratch[name + "-merged.onnx"], "--verify").Expect(0);
        }
    }

    [Fact]
    public void SmolLm2_FromGguf_SaysThatTheCapitalOfFranceIsParis()
    {
        Assert.SkipWhen(Paths.SharedOrNull is null || !Directory.Exists(Paths.Shared("models", "SmolLM2-135M-Instruct")), "../shared/models/SmolLM2-135M-Instruct is absent");
        using var scratch = new ScratchFolder();
        var source = Paths.Shared("models", "SmolLM2-135M-Instruct");
        Sorsa.Run("export", "--from", Path.Combine(source, "SmolLM2-135M-Instruct.Q4_1.gguf"), "--out", scratch["smol.onnx"], "--kv-cache").Expect(0);
        var answer = Sorsa.Run("generate", "--model", scratch["smol.onnx"], "--tokenizer", Path.Combine(source, "tokenizer.json"), "--template", "chatml",
            "--prompt", "What is the capital of France?", "--max-tokens", "12").Expect(0);
        Assert.Contains("The capital of France is Paris", answer.Out, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("gguf/array-huge")]
    [InlineData("gguf/dim-wrap")]
    [InlineData("gguf/missing-tensor")]
    [InlineData("gguf/n-kv-huge")]
    [InlineData("gguf/empty")]
    public void HostileGguf_IsRefusedInWords_AndNothingIsLeft(string id)
    {
        Assert.SkipWhen(Paths.SharedOrNull is null, "../shared/hostile is absent");
        using var scratch = new ScratchFolder();
        var hostile = HostileCorpus.Get(id);
        var outcome = Sorsa.Run("export", "--from", hostile.Materialize(scratch["in"]), "--out", scratch["out/model.onnx"]).Expect(2);
        Assert.True(hostile.IsNamedBy(outcome.Error), outcome.Error);
        Assert.DoesNotContain("   at SorsaOrt", outcome.Error, StringComparison.Ordinal);
        Assert.False(Directory.Exists(scratch["out"]));
    }

    [Theory]
    [InlineData("no-such-folder", "no-such-folder")]
    [InlineData("README.md", "GGUF")]
    [InlineData("docs", "config.json")]
    public void SourceThatIsNoModel_IsRefusedInWords(string source, string named)
    {
        using var scratch = new ScratchFolder();
        var outcome = Sorsa.Run("export", "--from", Path.Combine(Paths.Repository, source), "--out", scratch["model.onnx"]).Expect(2);
        Assert.Contains(named, outcome.Error, StringComparison.Ordinal);
        Assert.Empty(Directory.EnumerateFileSystemEntries(scratch.Path));
    }

    [Fact]
    public void BadOptions_AreRefused_AndOutputsAreReplacedOnlyWithForce()
    {
        using var scratch = new ScratchFolder();
        ModelFolder.NanoLlama(scratch["nano"]);
        var outcome = Sorsa.Run("export", "--from", scratch["nano"], "--out", scratch["model.onnx"], "--dtype", "int4").Expect(2);
        Assert.Contains("fp32, fp16, bf16", outcome.Error, StringComparison.Ordinal);
        File.WriteAllText(scratch["model.onnx"], "keep me");
        Sorsa.Run("export", "--from", scratch["nano"], "--out", scratch["model.onnx"]).Expect(2);
        Assert.Equal("keep me", File.ReadAllText(scratch["model.onnx"]));
        Sorsa.Run("export", "--from", scratch["nano"], "--out", scratch["model.onnx"], "--force").Expect(0);
        Assert.True(new FileInfo(scratch["model.onnx"]).Length > 1 << 20);
    }

    private static List<double> Losses(ScratchFolder scratch, string model, string name)
    {
        Sorsa.Run("build-artifacts", "--model", model, "--out", scratch[name + "-artifacts"], "--rank", "8").Expect(0);
        Sorsa.Run("train", "--artifacts", scratch[name + "-artifacts"], "--data", scratch["rows.jsonl"], "--out", scratch[name + "-run"],
            "--max-steps", "5", "--batch-size", "2", "--accumulation", "1", "--max-length", "48", "--lr", "1e-3", "--no-shuffle").Expect(0);
        var losses = Goldens.Steps(scratch[name + "-run"]).Select(s => s.GetProperty("loss").GetDouble()).ToList();
        Assert.Equal(5, losses.Count);
        return losses;
    }
}
