using System.Text.Json;
using SorsaOrt.TestSupport;
using Xunit;

namespace SorsaOrt.EndToEnd.Tests;

public sealed class CompareTests
{
    [Fact]
    public void Compare_TrainsEveryMethodGoesOnWithoutRepeatingAndRefusesOtherSettings()
    {
        using var scratch = new ScratchFolder();
        File.WriteAllLines(scratch["train.jsonl"], File.ReadLines(Paths.TinyMath("train.jsonl")).Take(12));
        File.WriteAllLines(scratch["held.jsonl"], File.ReadLines(Paths.TinyMath("test.jsonl")).Take(4));
        File.WriteAllText(scratch["train.json"], """{"max-steps": 2, "batch-size": 2, "accumulation": 1, "max-length": 128, "eval-every": 1}""");
        string[] Compare(string methods, string rank) => ["compare", "--model", Paths.TinyMath("model.onnx"), "--data", scratch["train.jsonl"], "--eval-data", scratch["held.jsonl"],
            "--tokenizer", Paths.TinyMath("tokenizer.model"), "--train-config", scratch["train.json"], "--out", scratch["out"], "--rank", rank,
            "--methods", methods, "--lr", "1e-3", "--lr", "lora=2e-3,4e-3", "--json"];

        var first = Sorsa.Run(Compare("sorsa,lora", "4")).Expect(0).Json.GetProperty("runs");
        Assert.Equal(["sorsa 0.001", "lora 0.002", "lora 0.004"],
            first.EnumerateArray().Select(r => FormattableString.Invariant($"{r.GetProperty("method").GetString()} {r.GetProperty("learning_rate").GetDouble()}")));
        Assert.All(first.EnumerateArray(), r => Assert.InRange(r.GetProperty("eval_loss").GetDouble(), 0.1, 20));
        Assert.All(first.EnumerateArray(), r => Assert.True(r.GetProperty("peak_memory_bytes").GetInt64() > 1 << 20));
        var written = File.GetLastWriteTimeUtc(scratch["out/sorsa-lr0.001-seed0/result.json"]);

        var second = Sorsa.Run(Compare("sorsa,lora,pissa", "4")).Expect(0);
        Assert.Equal(4, second.Json.GetProperty("runs").GetArrayLength());
        Assert.Equal(written, File.GetLastWriteTimeUtc(scratch["out/sorsa-lr0.001-seed0/result.json"]));
        Assert.Contains("| pissa | 0.001 * |", second.Out, StringComparison.Ordinal);
        Assert.Contains("<svg", File.ReadAllText(scratch["out/comparison.html"]), StringComparison.Ordinal);
        Assert.Equal(4, JsonDocument.Parse(File.ReadAllBytes(scratch["out/comparison.json"])).RootElement.GetArrayLength());

        Assert.Contains("other settings", Sorsa.Run(Compare("sorsa,lora", "8")).Expect(2).Error, StringComparison.Ordinal);
    }
}
