using SorsaOrt.Artifacts;
using Xunit;

namespace SorsaOrt.Engines.Tests;

public sealed class SessionEngineTests : IDisposable
{
    private static readonly EngineOptions Options = new() { Threads = 1 };

    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    private SessionEngine Open(TrainingMethod method = TrainingMethod.Sorsa, EngineOptions? options = null) =>
        SessionEngine.Open(TinyArtifacts.Write(_folder["artifacts-" + method], method), options ?? Options);

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Accumulate_GivesTheLossAndAddsScaledGradientsInPlace(bool packWeights)
    {
        using var engine = Open(options: Options with { PackWeights = packWeights });
        var expected = new double[TinyArtifacts.ParameterCount];
        double[] scales = [0.25, 2, 0.5];

        for (var i = 0; i < scales.Length; i++)
        {
            var batch = TinyArtifacts.Batch(i, out var ids, out var positions, out var labels);
            var (loss, gradient) = TinyArtifacts.Reference(TinyArtifacts.InitialParameters, ids, positions, labels);
            var result = engine.Accumulate(batch, scales[i]);
            Assert.Equal(loss, result.LossSum, 1e-4);
            Assert.Equal(7, result.LabelTokens);
            for (var k = 0; k < expected.Length; k++)
                expected[k] += scales[i] * gradient[k];
        }

        var found = TinyArtifacts.ToArray(engine.Gradients);
        for (var k = 0; k < expected.Length; k++)
            Assert.Equal(expected[k], found[k], 2e-6);
        Assert.Equal(TinyArtifacts.InitialParameters, TinyArtifacts.ToArray(engine.Parameters));
    }

    [Fact]
    public void Accumulate_TakesBatchesOfChangingShape()
    {
        using var engine = Open();
        long[] longer = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16];
        foreach (var length in (int[])[16, 3, 9, 16, 1])
        {
            long[] ids = longer[..length], positions = [length - 1], labels = [2];
            engine.DiscardGradients();
            var result = engine.Accumulate(new TokenBatch { BatchSize = 1, SequenceLength = length, InputIds = ids, LabelPositions = positions, LabelIds = labels }, 1);
            Assert.Equal(TinyArtifacts.Reference(TinyArtifacts.InitialParameters, ids, positions, labels).Loss, result.LossSum, 1e-5);
        }
    }

    [Fact]
    public void Accumulate_RefusesSpansThatDoNotFit()
    {
        using var engine = Open();
        long[] ids = [1, 2, 3];
        Assert.Throws<ArgumentException>(() => engine.Accumulate(new TokenBatch { BatchSize = 2, SequenceLength = 2, InputIds = ids, LabelPositions = [0], LabelIds = [1] }, 1));
        Assert.Throws<ArgumentException>(() => engine.Accumulate(new TokenBatch { BatchSize = 1, SequenceLength = 3, InputIds = ids, LabelPositions = [3], LabelIds = [1] }, 1));
        Assert.Throws<ArgumentException>(() => engine.Accumulate(new TokenBatch { BatchSize = 1, SequenceLength = 3, InputIds = ids, LabelPositions = [], LabelIds = [] }, 1));
    }

    [Fact]
    public void Evaluate_AgreesWithAccumulate_AndLeavesNoGradient()
    {
        using var engine = Open();
        var batch = TinyArtifacts.Batch(5, out _, out _, out _);

        var evaluated = engine.Evaluate(batch);

        Assert.All(TinyArtifacts.ToArray(engine.Gradients), g => Assert.Equal(0, g));
        Assert.Equal(engine.Accumulate(batch, 1).LossSum, evaluated.LossSum, 1e-5);
    }

    [Fact]
    public void Evaluate_SeesEveryUpdate()
    {
        using var engine = Open();
        var batch = TinyArtifacts.Batch(5, out _, out _, out _);
        var before = engine.Evaluate(batch).LossSum;

        for (var i = 0; i < 20; i++)
        {
            engine.Accumulate(batch, 1.0 / 7);
            engine.Update(new AdamWOptions(), 1e-2);
        }

        Assert.True(engine.Evaluate(batch).LossSum < before - 1, "the loss of a batch trained on did not fall");
        Assert.Equal(20, engine.Step);
    }

    [Fact]
    public void Logits_GiveTheLoss()
    {
        using var engine = Open(options: Options with { Training = false });
        var batch = TinyArtifacts.Batch(3, out _, out _, out var labels);

        var logits = engine.Logits(batch).ToArray();
        var loss = 0.0;
        for (var n = 0; n < labels.Length; n++)
        {
            var row = logits.AsSpan(n * TinyArtifacts.Vocabulary, TinyArtifacts.Vocabulary).ToArray();
            loss += Math.Log(row.Sum(l => Math.Exp(l))) - row[labels[n]];
        }

        Assert.Equal(engine.Evaluate(batch).LossSum, loss, 1e-4);
    }

    [Fact]
    public void WithoutTraining_StepsAreRefusedAndNoMomentsAreHeld()
    {
        using var engine = Open(options: Options with { Training = false });

        Assert.Equal(0, engine.FirstMoments.Length);
        Assert.Throws<InvalidOperationException>(() => engine.Accumulate(TinyArtifacts.Batch(1, out _, out _, out _), 1));
        Assert.Throws<InvalidOperationException>(() => engine.Update(new AdamWOptions(), 1));
    }

    [Fact]
    public void TwoEngines_GiveTheSameBits()
    {
        byte[] Run()
        {
            using var engine = Open();
            for (var i = 0; i < 6; i++)
            {
                engine.Accumulate(TinyArtifacts.Batch(i, out _, out _, out _), 0.1);
                if (i % 2 == 1)
                    engine.Update(new AdamWOptions { RegularizerStrength = 0.1 }, 1e-3);
            }
            return [.. TinyArtifacts.Bytes(engine.Parameters), .. TinyArtifacts.Bytes(engine.SecondMoments)];
        }
        var first = Run();
        Directory.Delete(_folder["artifacts-Sorsa"], true);

        Assert.Equal(first, Run());
    }

    [Fact]
    public void NonFiniteGradient_ChangesNothing()
    {
        using var engine = Open();
        engine.Accumulate(TinyArtifacts.Batch(1, out _, out _, out _), double.PositiveInfinity);

        var result = engine.Update(new AdamWOptions(), 1e-2);

        Assert.False(result.IsFinite);
        Assert.Equal(0, engine.Step);
        Assert.Equal(TinyArtifacts.InitialParameters, TinyArtifacts.ToArray(engine.Parameters));
        Assert.All(TinyArtifacts.ToArray(engine.FirstMoments), m => Assert.Equal(0, m));
        Assert.All(TinyArtifacts.ToArray(engine.Gradients), g => Assert.Equal(0, g));
    }

    [Fact]
    public void AModelOrtRefuses_IsNamed()
    {
        var artifacts = TinyArtifacts.Write(_folder["broken"]);
        File.WriteAllBytes(artifacts.PathOf(ArtifactFiles.TrainingModel), [8, 10, 99, 99]);

        var error = Assert.Throws<EngineException>(() => SessionEngine.Open(artifacts, Options));

        Assert.Contains(ArtifactFiles.TrainingModel, error.Message, StringComparison.Ordinal);
    }
}
