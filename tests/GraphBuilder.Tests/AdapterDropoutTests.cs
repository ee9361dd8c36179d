using SorsaOrt.Artifacts;
using SorsaOrt.Engines;
using SorsaOrt.TestSupport;
using Xunit;

namespace SorsaOrt.GraphBuilder.Tests;

/// <summary>Dropout in the training graph of nano-llama.</summary>
public sealed class AdapterDropoutTests : IDisposable
{
    private static readonly long[] Ids = [1, 403, 407, 261, 378, 12, 55, 403, 1, 9, 77, 261, 300, 44, 5, 407];
    private static readonly long[] Positions = [1, 2, 3, 6, 9, 12, 14];
    private static readonly long[] Labels = [407, 261, 378, 403, 77, 44, 407];

    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public void EvaluationGraph_IsThatWithoutDropout()
    {
        var (with, without) = (Build("with", AdapterMethod.Sorsa, 0.5), Build("without", AdapterMethod.Sorsa, 0));
        Assert.Equal(File.ReadAllBytes(without.PathOf(ArtifactFiles.EvalModel)), File.ReadAllBytes(with.PathOf(ArtifactFiles.EvalModel)));
        Assert.Equal(0.5, with.Manifest.Dropout);
        Assert.Null(without.Manifest.Dropout);
    }

    [Fact]
    public void SameSeed_DropsTheSame_AnotherSeedDoesNot()
    {
        using var engine = Open(Build("artifacts", AdapterMethod.Sorsa, 0.2));
        var (first, again, other) = (Step(engine, 7), Step(engine, 7), Step(engine, 8));
        Assert.Equal(first.Loss, again.Loss);
        Assert.Equal(first.Gradient, again.Gradient);
        Assert.NotEqual(first.Loss, other.Loss);
        Assert.NotEqual(first.Gradient, other.Gradient);
    }

    // With LoRA's B = 0 nothing is added to the forward pass, and dB is linear in what the adapter reads: its mean over masks is dB without dropout.
    [Fact]
    public void MeanGradientOfB_IsThatWithoutDropout()
    {
        const int Seeds = 400;
        using var plain = Open(Build("plain", AdapterMethod.Lora, 0));
        using var dropping = Open(Build("dropping", AdapterMethod.Lora, 0.5));
        var expected = Step(plain, 0).Gradient;
        var one = Step(dropping, 0).Gradient;
        var mean = new double[expected.Length];
        for (var seed = 0; seed < Seeds; seed++)
        {
            foreach (var (i, g) in Step(dropping, (ulong)seed).Gradient.Index())
                mean[i] += g / (double)Seeds;
        }
        var ofOne = Distance(expected, [.. one.Select(g => (double)g)]);
        var ofMean = Distance(expected, mean);
        Assert.InRange(ofOne, 0.3, 3);
        Assert.InRange(ofMean, 0, 3 * ofOne / Math.Sqrt(Seeds));
    }

    [Fact]
    public void Gradient_AgreesWithFiniteDifferencesUnderTheSameMask()
    {
        using var engine = Open(Build("artifacts", AdapterMethod.Sorsa, 0.3));
        var gradient = Step(engine, 3).Gradient;
        var norm = Math.Sqrt(gradient.Sum(g => (double)g * g));
        var start = Enumerable.Range(0, gradient.Length).Select(i => engine.Parameters[i]).ToArray();
        double At(double step)
        {
            for (var i = 0; i < start.Length; i++)
                engine.Parameters[i] = (float)(start[i] + step * gradient[i] / norm);
            return Step(engine, 3).Loss;
        }
        const double Epsilon = 2e-3;
        // The derivative along the gradient's own direction is its norm.
        Assert.Equal(norm, (At(Epsilon) - At(-Epsilon)) / (2 * Epsilon), norm * 5e-3);
    }

    private ArtifactSet Build(string name, AdapterMethod method, double dropout)
    {
        ArtifactBuilder.Build(new BuildOptions
        {
            ModelPath = Paths.Fixture("nano-llama", "optimum-no-past.onnx"),
            OutputFolder = _folder.At(name),
            Rank = 4,
            Method = method,
            Dropout = dropout,
        });
        return ArtifactSet.Open(_folder.At(name), Verification.Full);
    }

    private static SessionEngine Open(ArtifactSet artifacts) => SessionEngine.Open(artifacts, new EngineOptions { Threads = 1 });

    private static (double Loss, float[] Gradient) Step(SessionEngine engine, ulong dropoutSeed)
    {
        engine.DiscardGradients();
        var result = engine.Accumulate(new TokenBatch
        {
            BatchSize = 2,
            SequenceLength = 8,
            InputIds = Ids,
            LabelPositions = Positions,
            LabelIds = Labels,
            DropoutSeed = dropoutSeed,
        }, 1);
        return (result.LossSum, [.. Enumerable.Range(0, (int)engine.Gradients.Length).Select(i => engine.Gradients[i])]);
    }

    private static double Distance(float[] expected, double[] actual) =>
        Math.Sqrt(expected.Zip(actual, (e, a) => Math.Pow(e - a, 2)).Sum() / expected.Sum(e => (double)e * e));
}
