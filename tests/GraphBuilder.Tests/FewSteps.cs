using SorsaOrt.Artifacts;
using SorsaOrt.Engines;
using Xunit;

namespace SorsaOrt.GraphBuilder.Tests;

/// <summary>Losses of five steps of AdamW on made-up rows of nano-llama's vocabulary, and the gradients before and after them.</summary>
internal sealed record FewSteps(double[] Losses, float[] FirstGradients, float[] Gradients)
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
        float[] Gradients() => engine.Gradients.Slice(0, (int)engine.Gradients.Length).ToArray();
        var losses = new double[5];
        float[] first = [];
        for (var step = 0; step < losses.Length; step++)
        {
            losses[step] = Accumulate().Mean;
            first = step == 0 ? Gradients() : first;
            engine.Update(new AdamWOptions(), 1e-3);
        }
        Accumulate();
        return new FewSteps(losses, first, Gradients());
    }

    /// <summary>The same training up to rounding; the gradients, as vectors, to <paramref name="tolerance"/>.</summary>
    public void Equal(FewSteps actual, double tolerance = 1e-5)
    {
        Assert.All(Losses.Zip(actual.Losses), l => Assert.Equal(l.First, l.Second, 1e-6 * l.First));
        Assert.InRange(Distance(Gradients, actual.Gradients), 0, tolerance);
    }

    /// <summary>The same training up to the rounding of another type: each loss relative to itself, the gradients before the first step as vectors.</summary>
    public void Near(FewSteps actual, double losses, double gradients, ITestOutputHelper output)
    {
        var ofLosses = Losses.Zip(actual.Losses).Max(l => Math.Abs(l.First - l.Second) / l.First);
        var ofGradients = Distance(FirstGradients, actual.FirstGradients);
        output.WriteLine($"losses off by {ofLosses:0.0e+0}, gradients by {ofGradients:0.0e+0}");
        Assert.InRange(ofLosses, 0, losses);
        Assert.InRange(ofGradients, 0, gradients);
    }

    private static double Distance(float[] expected, float[] actual) =>
        Math.Sqrt(expected.Zip(actual, (e, a) => Math.Pow((double)e - a, 2)).Sum()) / Math.Sqrt(expected.Sum(e => (double)e * e));
}
