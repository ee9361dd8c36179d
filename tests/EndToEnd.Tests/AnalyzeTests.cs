using SorsaOrt.TestSupport;
using Xunit;

namespace SorsaOrt.EndToEnd.Tests;

public sealed class AnalyzeTests
{
    [Fact]
    public void Analyze_ShowsWhichWeightsMovedAndKeepsWhatIsThere()
    {
        using var scratch = new ScratchFolder();
        var model = Paths.TinyMath("model.onnx");
        Sorsa.Run("build-artifacts", "--model", model, "--out", scratch["artifacts"], "--rank", "4", "--targets", "q_proj,down_proj").Expect(0);
        Sorsa.Run("train", "--artifacts", scratch["artifacts"], "--data", Paths.TinyMath("train.jsonl"), "--tokenizer", Paths.TinyMath("tokenizer.model"),
            "--out", scratch["run"], "--max-steps", "2", "--accumulation", "1", "--lr", "1e-2", "--schedule", "constant", "--warmup", "0").Expect(0);
        Sorsa.Run("merge", "--artifacts", scratch["artifacts"], "--checkpoint", scratch["run"], "--out", scratch["merged.onnx"]).Expect(0);

        string[] analyze = ["analyze", "--base", model, "--model", "trained=" + scratch["merged.onnx"], "--model", model, "--out", scratch["analysis"], "--json"];
        var models = Sorsa.Run(analyze).Expect(0).Json.GetProperty("models");
        Assert.Equal("trained", models[0].GetProperty("label").GetString());
        Assert.Equal(28, models[0].GetProperty("targets").GetArrayLength());
        foreach (var target in models[0].GetProperty("targets").EnumerateArray())
        {
            var isTrained = target.GetProperty("role").GetString() is "q_proj" or "down_proj";
            Assert.Equal(isTrained, target.GetProperty("mean_delta_sigma").GetDouble() > 1e-5);
            Assert.Equal(isTrained, target.GetProperty("delta_d").GetDouble() > 1e-5);
        }
        Assert.Equal(0, models[1].GetProperty("mean_delta_sigma").GetDouble());

        var picture = File.ReadAllBytes(scratch["analysis/analysis.png"]);
        Assert.Equal([0x89, (byte)'P', (byte)'N', (byte)'G'], picture[..4]);
        Assert.Contains("analysis.json", Sorsa.Run(analyze).Expect(2).Error, StringComparison.Ordinal);
        Assert.Equal(picture, File.ReadAllBytes(scratch["analysis/analysis.png"]));
    }

    [Fact]
    public void Analyze_RefusesAModelOfAnotherOriginAndWritesNothing()
    {
        using var scratch = new ScratchFolder();
        var other = Paths.Fixture("nano-llama/optimum-no-past.onnx");
        var outcome = Sorsa.Run("analyze", "--base", Paths.TinyMath("model.onnx"), "--model", other, "--out", scratch["analysis"]).Expect(2);
        Assert.Contains("model.layers.0.self_attn.q_proj", outcome.Error, StringComparison.Ordinal);
        Assert.False(Directory.Exists(scratch["analysis"]));
    }
}
