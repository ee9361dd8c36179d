using FsCheck;
using FsCheck.Fluent;
using FsCheck.Xunit;

namespace SorsaOrt.Inference.Tests;

public sealed class TokenChoiceTests
{
    [Fact]
    public void Draw_IsTheSameForTheSameSeedAndRow()
    {
        float[] logits = [1, 2, 0.5f, 3, 2.5f];
        Assert.Equal(Draws(logits, seed: 7, row: 0, count: 50), Draws(logits, seed: 7, row: 0, count: 50));
        Assert.NotEqual(Draws(logits, seed: 7, row: 0, count: 50), Draws(logits, seed: 8, row: 0, count: 50));
        Assert.NotEqual(Draws(logits, seed: 7, row: 0, count: 50), Draws(logits, seed: 7, row: 1, count: 50));
    }

    [Theory]
    [InlineData(0.5f)]
    [InlineData(1f)]
    [InlineData(2f)]
    public void Draw_HasTheFrequenciesOfTheTemperedSoftmax(float temperature)
    {
        float[] logits = [1, 2, 0.5f, 3, 2.5f];
        const int Count = 40_000;
        int[] draws = Draws(logits, seed: 1, row: 0, Count, temperature);
        double total = logits.Sum(z => Math.Exp(z / temperature));
        for (int id = 0; id < logits.Length; id++)
        {
            double p = Math.Exp(logits[id] / temperature) / total, deviation = Math.Sqrt(p * (1 - p) / Count);
            Assert.InRange((double)draws.Count(d => d == id) / Count, p - 5 * deviation, p + 5 * deviation);
        }
    }

    [Property(MaxTest = 200)]
    public void Draw_StaysInTheNucleus(NonEmptyArray<byte> raw, byte topPercent, ulong seed)
    {
        float topP = (topPercent % 100 + 1) / 100f;
        float[] logits = [.. raw.Get.Select(b => b / 16f)];
        double[] weights = [.. logits.Select(z => Math.Exp(z - logits.Max()))];
        foreach (int id in Draws(logits, seed, row: 0, count: 20, topP: topP))
        {
            // In the nucleus: the strictly likelier tokens do not reach top-p by themselves.
            double likelier = weights.Where(w => w > weights[id]).Sum() / weights.Sum();
            Assert.True(likelier < topP + 1e-5, $"top-p {topP}: token {id} drawn though {likelier} lies above it");
        }
    }

    [Fact]
    public void Draw_WithTopP_ReachesAllOfTheNucleusAndNothingElse()
    {
        float[] logits = [.. new[] { 0.5, 0.3, 0.15, 0.05 }.Select(p => (float)Math.Log(p))];
        Assert.Equal([0, 1], Draws(logits, seed: 3, row: 0, count: 300, topP: 0.75f).Distinct().Order());
        Assert.Equal([0, 1, 2, 3], Draws(logits, seed: 3, row: 0, count: 300, topP: 1).Distinct().Order());
        Assert.Equal([0], Draws(logits, seed: 3, row: 0, count: 300, topP: 0.1f).Distinct());
    }

    private static int[] Draws(float[] logits, ulong seed, int row, int count, float temperature = 1, float topP = 1)
    {
        var choice = new TokenChoice(new DecodingOptions { Temperature = temperature, TopP = topP }, logits.Length);
        ulong state = TokenChoice.Begin(seed, row);
        int[] draws = new int[count];
        for (int i = 0; i < count; i++)
            draws[i] = choice.Choose(logits, ref state);
        return draws;
    }
}
