using System.Text.Json;
using SorsaOrt.TestSupport;
using Xunit;

namespace SorsaOrt.EndToEnd.Tests;

/// <summary>What <c>sorsa inspect</c> says training will take is what <c>sorsa train</c> takes.</summary>
public sealed class MemoryPlanTests
{
    private const int BatchSize = 4, Length = 512;
    private const double Tolerance = 0.15;

    [Theory]
    [InlineData("none")]
    [InlineData("layer")]
    public void PlannedPeak_IsTheMeasuredPeak(string recompute)
    {
        using var scratch = new ScratchFolder();
        new RandomLlama { Vocabulary = 4096, Hidden = 256, Intermediate = 704, Layers = 8, Heads = 8, KeyValueHeads = 4 }.Write(scratch["model.onnx"]);
        WriteRows(scratch["rows.jsonl"]);
        string[] batch = ["--batch-size", $"{BatchSize}", "--max-length", $"{Length}", "--label-share", "0.5", "--json"];
        var before = Sorsa.Run(["inspect", "--model", scratch["model.onnx"], "--rank", "8", "--recompute", recompute, .. batch]).Expect(0).Json.GetProperty("memory");
        Sorsa.Run("build-artifacts", "--model", scratch["model.onnx"], "--out", scratch["artifacts"], "--rank", "8", "--recompute", recompute).Expect(0);
        var planned = Sorsa.Run(["inspect", "--model", scratch["artifacts"], .. batch]).Expect(0).Json.GetProperty("memory");
        foreach (var part in new[] { "frozen_weights", "packed_weights", "adapters", "gradients", "moments", "activations", "peak" })
            Assert.Equal(Bytes(before, part), Bytes(planned, part));
        Assert.Equal(0, planned.GetProperty("unknown_sizes").GetInt32());

        var measured = Sorsa.Run("train", "--artifacts", scratch["artifacts"], "--data", scratch["rows.jsonl"], "--out", scratch["run"],
            "--max-steps", "2", "--accumulation", "1", "--batch-size", $"{BatchSize}", "--max-length", $"{Length}", "--json").Expect(0).Json;
        var peak = measured.GetProperty("peak_memory_bytes").GetInt64();
        // Enough beyond the runtime for the comparison to say something of the plan.
        Assert.InRange(Bytes(planned, "activations"), peak / 4, peak);
        TestContext.Current.TestOutputHelper?.WriteLine($"--recompute {recompute}: planned {Bytes(planned, "peak") >> 20} MB, measured {peak >> 20} MB");
        Assert.InRange(Bytes(planned, "peak"), (1 - Tolerance) * peak, (1 + Tolerance) * peak);
    }

    [Theory]
    [InlineData("--rank", "100000", "--rank")]
    [InlineData("--rank", "0", "--rank")]
    [InlineData("--compute-dtype", "fp8", "fp32, fp16, bf16")]
    [InlineData("--targets", "no_such_proj", "no_such_proj")]
    [InlineData("--batch-size", "0", "--batch-size")]
    [InlineData("--label-share", "1.5", "--label-share")]
    public void WhatCannotBePlanned_IsRefusedInWords(string option, string value, string named) =>
        Sorsa.Run("inspect", "--model", Goldens.Model, option, value).ExpectRefusal().Names(named);

    private static long Bytes(JsonElement plan, string part) => plan.GetProperty(part).GetInt64();

    private static void WriteRows(string path)
    {
        var ids = Enumerable.Range(0, Length).Select(i => i * 37 % 4096).ToArray();
        var row = JsonSerializer.Serialize(new { input_ids = ids, labels = ids.Select((id, i) => i < Length / 2 ? -100 : id) });
        File.WriteAllLines(path, Enumerable.Repeat(row, 2 * BatchSize));
    }
}
