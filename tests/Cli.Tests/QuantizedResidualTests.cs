using SorsaOrt.TestSupport;
using Xunit;

namespace SorsaOrt.Cli.Tests;

/// <summary><c>--residual-dtype int8|int4</c> through the verbs.</summary>
public sealed class QuantizedResidualTests
{
    private static string Model => Paths.Fixture("nano-llama", "optimum-no-past.onnx");

    /// <summary>With everything else that changes the training graph; the merged model is the trained one.</summary>
    [Theory]
    [InlineData("sorsa", "int4", "--recompute", "layer", "--dropout", "0.1")]
    [InlineData("pissa", "int8")]
    [InlineData("lora", "int4", "--alpha", "8")]
    public void BuiltTrainedPackedAndMerged_GivesTheAdaptedModel(string method, string type, params string[] options)
    {
        using var folder = new TemporaryFolder();
        File.WriteAllLines(folder.At("rows.jsonl"), Enumerable.Range(0, 8).Select(i => $$"""{"input_ids": [1, {{403 + i}}, 407, 261, 378], "labels": [-100, -100, 407, 261, 378]}"""));
        var built = Sorsa.Run(["build-artifacts", "--model", Model, "--out", folder.At("a"), "--rank", "4", "--method", method, "--residual-dtype", type, "--json", .. options]).Expect(0);
        Assert.Contains("|Wr - Wr'|/|Wr|", built.Out, StringComparison.Ordinal);
        var targets = built.Json.GetProperty("targets").EnumerateArray().ToList();
        Assert.Equal(35, targets.Count);
        Assert.All(targets, t => Assert.InRange(t.GetProperty("residual_loss").GetDouble(), type == "int8" ? 2e-3 : 4e-2, type == "int8" ? 8e-3 : 0.13));
        Sorsa.Run("train", "--artifacts", folder.At("a"), "--data", folder.At("rows.jsonl"), "--out", folder.At("run"), "--max-steps", "3", "--batch-size", "2", "--accumulation", "1",
            "--max-length", "16", "--packing", "--lr", "1e-3", "--warmup", "0", "--threads", "1").Expect(0);
        var merged = Sorsa.Run("merge", "--artifacts", folder.At("a"), "--checkpoint", folder.At("run"), "--out", folder.At("merged.onnx"), "--verify", "--json", "--threads", "1").Expect(0);
        Assert.InRange(merged.Json.GetProperty("max_logit_difference").GetDouble(), 0, 1e-3);
    }

    /// <summary>The residual of a part of a packed weight is the part's own, for the adapter over the original weights too.</summary>
    [Fact]
    public void PackedParts_AreExportedAsAnAdapter()
    {
        using var folder = new TemporaryFolder();
        Sorsa.Run("build-artifacts", "--model", Paths.Fixture("exports", "nano-llama-hd16", "genai-fp16-cuda", "model.onnx"), "--out", folder.At("a"), "--rank", "4",
            "--targets", "q_proj,v_proj", "--residual-dtype", "int4").Expect(0);
        File.WriteAllLines(folder.At("rows.jsonl"), ["""{"input_ids": [1, 403, 407, 261, 378], "labels": [-100, -100, 407, 261, 378]}"""]);
        Sorsa.Run("train", "--artifacts", folder.At("a"), "--data", folder.At("rows.jsonl"), "--out", folder.At("run"), "--max-steps", "1", "--batch-size", "1", "--accumulation", "1", "--threads", "1").Expect(0);
        var said = Sorsa.Run("export-adapter", "--artifacts", folder.At("a"), "--checkpoint", folder.At("run"), "--format", "safetensors", "--out", folder.At("delta.safetensors"), "--json").Expect(0);
        Assert.Contains("rounded to i4", said.Error, StringComparison.Ordinal);
        // One step of rate 0: the change is what quantising did, little of which has the adapter's rank.
        Assert.InRange(said.Json.GetProperty("left_out").GetDouble(), 0.5, 1);
    }

    [Theory]
    [InlineData("--method", "full", "leaves no residual to quantise")]
    [InlineData("--format", "both", "needs --format ort")]
    public void WhatCannotBe_IsRefused(string option, string value, string reason)
    {
        using var folder = new TemporaryFolder();
        var refused = Sorsa.Run("build-artifacts", "--model", Model, "--out", folder.At("a"), "--rank", "4", "--residual-dtype", "int4", option, value).Expect(2);
        Assert.Contains(reason, refused.Error, StringComparison.Ordinal);
        Assert.Empty(folder.Everything());
    }

    [Fact]
    public void Inspect_PlansTheMemoryOfTheType()
    {
        long Frozen(string type) => Sorsa.Run("inspect", "--model", Model, "--residual-dtype", type, "--json").Expect(0).Json.GetProperty("memory").GetProperty("frozen_weights").GetInt64();
        var (wide, bytes, halves) = (Frozen("fp32"), Frozen("int8"), Frozen("int4"));
        Assert.True(halves < bytes && bytes < wide, $"{halves} < {bytes} < {wide}");
    }
}
