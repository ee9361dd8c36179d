using System.Runtime.InteropServices;
using System.Text.Json;
using SorsaOrt.TestSupport;

namespace SorsaOrt.Export.Tests;

/// <summary>Our exports of real models compute what PyTorch computed from the same weights.</summary>
public sealed class GoldenLogitsTests
{
    private const float Tolerance = 5e-5f; // The largest logit is 20.5; the other exporters' graphs are off by 1.4e-5.

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void NanoLlama_GivesTheGoldenLogits(bool cache)
    {
        using var folder = new TemporaryFolder();
        using var model = ExportedModel.Of(ModelFolder.NanoLlama(folder.At("source")), folder, cache);
        var (ids, mask, positions) = Inputs(Paths.Fixture("nano-llama", "inputs.json"));
        Near(Floats(Paths.Fixture("nano-llama", "logits.f32")), model.Logits(ids, mask, positions));
    }

    [Fact]
    public void NanoLlama_StepByStepOverItsCache_GivesTheGoldenLogits()
    {
        using var folder = new TemporaryFolder();
        using var model = ExportedModel.Of(ModelFolder.NanoLlama(folder.At("source")), folder, cache: true);
        var ids = Inputs(Paths.Fixture("nano-llama", "inputs.json")).Ids[..1];
        var expected = Floats(Paths.Fixture("nano-llama", "logits.f32")).AsSpan(0, ids[0].Length * 512);
        var actual = new List<float>(model.Logits([ids[0][..5]]));
        for (var i = 5; i < ids[0].Length; i++)
            actual.AddRange(model.Logits([[ids[0][i]]]));
        Near(expected.ToArray(), [.. actual]);
    }

    [Theory]
    [InlineData("nano-llama", false)]
    [InlineData("tiny-math", false)]
    [InlineData("tiny-math", true)]
    public void SharedModel_GivesTheGoldenLogits(string name, bool cache)
    {
        Assert.SkipWhen(Paths.SharedOrNull is null, "../shared is absent");
        using var folder = new TemporaryFolder();
        using var model = ExportedModel.Of(Paths.Shared("models", name), folder, cache);
        var (ids, mask, positions) = Inputs(Paths.Shared("exports", name, "optimum-no-past", "inputs.json"));
        Near(Floats(Paths.Shared("exports", name, "logits.f32")), model.Logits(ids, mask, positions));
    }

    [Fact]
    public void SmolLm2_FromQuantisedGguf_KnowsTheCapitalOfFrance()
    {
        Assert.SkipWhen(Paths.SharedOrNull is null || !Directory.Exists(Paths.Shared("models", "SmolLM2-135M-Instruct")), "../shared/models/SmolLM2-135M-Instruct is absent");
        using var folder = new TemporaryFolder();
        using var model = ExportedModel.Of(Paths.Shared("models", "SmolLM2-135M-Instruct", "SmolLM2-135M-Instruct.Q4_1.gguf"), folder, cache: true);
        const int Paris = 7042;
        var logits = model.Logits([[504, 3575, 282, 4649, 314]]); // "The capital of France is"
        Assert.Equal(Paris, Likeliest(logits));
    }

    private static int Likeliest(float[] logits)
    {
        var last = logits[^49152..];
        return Array.IndexOf(last, last.Max());
    }

    private static (long[][] Ids, long[][] Mask, long[][] Positions) Inputs(string path)
    {
        using var json = JsonDocument.Parse(File.ReadAllText(path));
        long[][] Read(string name) => [.. json.RootElement.GetProperty(name).EnumerateArray().Select(r => r.EnumerateArray().Select(e => e.GetInt64()).ToArray())];
        return (Read("input_ids"), Read("attention_mask"), Read("position_ids"));
    }

    private static float[] Floats(string path) => MemoryMarshal.Cast<byte, float>(File.ReadAllBytes(path)).ToArray();

    private static void Near(float[] expected, float[] actual)
    {
        Assert.Equal(expected.Length, actual.Length);
        Assert.All(expected.Zip(actual), pair => Assert.Equal(pair.First, pair.Second, Tolerance));
    }
}
