using SorsaOrt.Artifacts;
using SorsaOrt.Engines;
using Xunit;

namespace SorsaOrt.GraphBuilder.Tests;

/// <summary>Losses of five steps of AdamW on made-up rows of nano-llama's vocabulary, and the gradients after them.</summary>
internal sealed record FewSteps(double[] Losses, float[] Gradients)
{
    /// <summary>Trains artifacts.</summary>
    public static FewSteps Of(string artifacts)
    {
        var set = ArtifactSet.Open(artifacts, Verification.Full);
        using var engine = SessionEngine.Open(set, new EngineOptions { Threads = 1 });
        const int Rows = 2, Length = 24;
        long[] ids = [.. Enumerable.Range(0, Rows * Length).Select(i => (long)(i * 37 % 511))];
        long[] places = [.. Enumerable.Range(0, Rows * Length).Where(i => i % Length is >= 5 and < Length - 1).Select(i => (long)i)];
        long[] labels = [.. places.Select(p => ids[p + 1])];
        StepResult Accumulate() => engine.Accumulate(new TokenBatch { BatchSize = Rows, SequenceLength = Length, InputIds = ids, LabelPositions = places, LabelIds = labels }, 1.0 / labels.Length);
        var losses = new double[5];
        for (var step = 0; step < losses.Length; step++)
        {
            losses[step] = Accumulate().Mean;
            engine.Update(new AdamWOptions(), 1e-3);
        }
        Accumulate();
        return new FewSteps(losses, engine.Gradients.Slice(0, (int)engine.Gradients.Length).ToArray());
    }

    /// <summary>The same training up to rounding; the gradients, as vectors, to <paramref name="tolerance"/>.</summary>
    public void Equal(FewSteps actual, double tolerance = 1e-5)
    {
        Assert.All(Losses.Zip(actual.Losses), l => Assert.Equal(l.First, l.Second, 1e-6 * l.First));
        var difference = Math.Sqrt(Gradients.Zip(actual.Gradients, (e, a) => Math.Pow((double)e - a, 2)).Sum());
        Assert.InRange(difference / Math.Sqrt(Gradients.Sum(e => (double)e * e)), 0, tolerance);
    }
}
