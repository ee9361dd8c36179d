using System.Text.Json;
using SorsaOrt.Artifacts;
using Xunit;

namespace SorsaOrt.EndToEnd.Tests;

/// <summary><c>--compute-dtype fp16|bf16</c> through <c>./sorsa</c>, on the processor.</summary>
public sealed class MixedPrecisionTests(ITestOutputHelper output)
{
    private const int Steps = 24;

    [Fact]
    public void Float16_LearnsAsFloat32Does_Resumes_AndMergesWhatItTrained()
    {
        using var scratch = new ScratchFolder();
        Goldens.WriteRows(scratch["rows.jsonl"]);
        foreach (var type in (string[])["fp32", "fp16"])
            Sorsa.Run("build-artifacts", "--model", Goldens.Model, "--out", scratch[type], "--rank", "8", "--compute-dtype", type, "--residual-dtype", type).Expect(0);
        string[] Train(string artifacts, string run, params string[] more) =>
        [
            "train", "--artifacts", scratch[artifacts], "--data", scratch["rows.jsonl"], "--out", scratch[run], "--max-steps", $"{Steps}", "--batch-size", "2", "--accumulation", "2",
            "--max-length", "48", "--lr", "1e-3", "--threads", "1", "--seed", "7", "--device", "cpu", "--save-every", "8", "--keep", "0", "--json", .. more,
        ];
        Sorsa.Run(Train("fp32", "wide")).Expect(0);
        Sorsa.Run(Train("fp16", "narrow")).Expect(0);

        var (wide, narrow) = (Goldens.Steps(scratch["wide"]), Goldens.Steps(scratch["narrow"]));
        Assert.Equal(Steps, narrow.Count);
        var worst = wide.Zip(narrow).Max(l => Math.Abs(Loss(l.First) - Loss(l.Second)) / Loss(l.First));
        output.WriteLine($"losses of {Steps} steps off by {worst:0.0e+0}, from {Loss(wide[0]):0.000} to {Loss(wide[^1]):0.000}");
        Assert.InRange(worst, 0, 5e-3);
        Assert.All(narrow, l => Assert.Equal((65536, 0), (l.GetProperty("loss_scale").GetInt64(), l.GetProperty("overflows").GetInt64())));

        // Begun far too high it comes down within the first step; stopped and resumed it ends in the same bytes.
        var whole = Sorsa.Run(Train("fp16", "whole", "--loss-scale", "1099511627776")).Expect(0);
        var result = whole.Json;
        var overflows = result.GetProperty("overflows").GetInt64();
        Assert.InRange(overflows, 5, 35);
        Assert.Equal(1099511627776 >> (int)overflows, result.GetProperty("loss_scale").GetInt64());
        Assert.Contains($"after {overflows} overflows", whole.Out, StringComparison.Ordinal);
        Assert.All(narrow.Zip(Goldens.Steps(scratch["whole"])), l => Assert.Equal(Loss(l.First), Loss(l.Second), 1e-3 * Loss(l.First)));
        CopyUpTo(scratch["whole"], scratch["killed"], step: 8);
        Sorsa.Run("train", "--resume", scratch["killed"]).Expect(0);
        foreach (var file in (string[])["parameters.safetensors", "optimizer.safetensors", "state.json"])
            Assert.Equal(File.ReadAllBytes(Last(scratch["whole"], file)), File.ReadAllBytes(Last(scratch["killed"], file)));

        // Parameters and moments are float32 as ever, and merge as ever.
        foreach (var file in (string[])["parameters.safetensors", "optimizer.safetensors"])
        {
            using var tensors = SafetensorsReader.Open(Last(scratch["narrow"], file));
            Assert.All(tensors.Tensors, t => Assert.Equal(SafetensorsType.F32, t.Type));
        }
        var merged = Sorsa.Run("merge", "--artifacts", scratch["fp16"], "--checkpoint", scratch["narrow"], "--out", scratch["merged.onnx"], "--verify").Expect(0);
        output.WriteLine(merged.Out);
        var built = Sorsa.Run("inspect", "--model", scratch["fp16"], "--json").Expect(0);
        Assert.Contains("products in f16", built.Out, StringComparison.Ordinal);
        // Before anything is built, the model's plan is that of its artifacts.
        var planned = Sorsa.Run("inspect", "--model", Goldens.Model, "--rank", "8", "--compute-dtype", "fp16", "--residual-dtype", "fp16", "--json").Expect(0).Json;
        Assert.Equal(built.Json.GetProperty("memory").GetRawText(), planned.GetProperty("memory").GetRawText());
    }

    [Fact]
    public void Compare_BuildsEveryMethodWithIt()
    {
        using var scratch = new ScratchFolder();
        Goldens.WriteRows(scratch["rows.jsonl"]);
        File.WriteAllText(scratch["build.json"], """{"compute-dtype": "fp16", "residual-dtype": "fp16"}""");
        File.WriteAllText(scratch["train.json"], """{"max-steps": 1, "batch-size": 2, "accumulation": 1, "max-length": 48}""");
        string[] Compare(string methods, string output) => ["compare", "--model", Goldens.Model, "--data", scratch["rows.jsonl"], "--eval-data", scratch["rows.jsonl"], "--out", scratch[output],
            "--rank", "4", "--methods", methods, "--lr", "1e-3", "--build-config", scratch["build.json"], "--train-config", scratch["train.json"]];
        Sorsa.Run(Compare("sorsa,pissa", "compared")).Expect(0);
        Assert.All((string[])["sorsa", "pissa"], method => Assert.Equal("f16", ArtifactSet.Open(scratch[$"compared/{method}-lr0.001-seed0/artifacts"], Verification.Sizes).Manifest.ComputeType));
        Assert.Contains("--method full", Sorsa.Run(Compare("full", "refused")).Expect(2).Error, StringComparison.Ordinal);
    }

    [Fact]
    public void BFloat16_IsBuilt_AndRefusedByTheProcessor()
    {
        using var scratch = new ScratchFolder();
        Goldens.WriteRows(scratch["rows.jsonl"]);
        Sorsa.Run("build-artifacts", "--model", Goldens.Model, "--out", scratch["artifacts"], "--rank", "4", "--compute-dtype", "bf16").Expect(0);
        var refused = Sorsa.Run("train", "--artifacts", scratch["artifacts"], "--data", scratch["rows.jsonl"], "--out", scratch["run"], "--max-length", "48", "--device", "cpu").Expect(2);
        Assert.Contains("--compute-dtype bf16", refused.Error, StringComparison.Ordinal);
        Assert.Contains("--device cuda", refused.Error, StringComparison.Ordinal);
        Assert.False(Directory.Exists(scratch["run"]));
        // Its parameters are float32: what needs no product of bfloat16 goes on.
        Sorsa.Run("merge", "--artifacts", scratch["artifacts"], "--out", scratch["merged.onnx"]).Expect(0);
    }

    [Theory]
    [InlineData("fp8", "ort", "sorsa", "fp32, fp16, bf16")]
    [InlineData("fp16", "ort", "full", "--method full")]
    [InlineData("fp16", "both", "sorsa", "--format ort")]
    [InlineData("bf16", "ort-training", "lora", "--format ort")]
    public void WhereItMakesNoSense_ItIsRefused(string type, string format, string method, string named)
    {
        using var scratch = new ScratchFolder();
        var outcome = Sorsa.Run("build-artifacts", "--model", Goldens.Model, "--out", scratch["artifacts"], "--rank", "4", "--compute-dtype", type, "--format", format, "--method", method).Expect(2);
        Assert.Contains(named, outcome.Error, StringComparison.Ordinal);
        Assert.Empty(Directory.EnumerateFileSystemEntries(scratch.Path));
    }

    // The run as it was when it had been killed after that checkpoint.
    private static void CopyUpTo(string run, string to, int step)
    {
        foreach (var file in Directory.GetFiles(run, "*", SearchOption.AllDirectories))
        {
            var relative = Path.GetRelativePath(run, file);
            if (relative.StartsWith("checkpoints", StringComparison.Ordinal) && !relative.Contains($"step-{step}{Path.DirectorySeparatorChar}", StringComparison.Ordinal))
                continue;
            Directory.CreateDirectory(Path.GetDirectoryName(Path.Combine(to, relative))!);
            File.Copy(file, Path.Combine(to, relative));
        }
    }

    private static string Last(string run, string file) => Path.Combine(run, "checkpoints", $"step-{Steps}", file);

    private static double Loss(JsonElement line) => line.GetProperty("loss").GetDouble();
}
