using System.Text.Json;
using SorsaOrt.Artifacts;
using SorsaOrt.TestSupport;
using Xunit;

namespace SorsaOrt.Engines.Tests;

public sealed class OptimizerStepTests : IDisposable
{
    private static readonly EngineOptions Options = new() { Threads = 1 };

    private readonly TemporaryFolder _folder = new();
    private readonly List<IDisposable> _owned = [];

    public void Dispose()
    {
        for (var i = _owned.Count - 1; i >= 0; i--)
            _owned[i].Dispose();
        _folder.Dispose();
    }

    private (TrainingState State, OptimizerStep Optimizer) Open(IReadOnlyList<TrainedParameter> parameters, float[] initial)
    {
        var artifacts = TinyArtifacts.Write(_folder["artifacts"], parameters, initial);
        var state = new TrainingState(parameters, initial.Length, training: true);
        _owned.Add(state);
        initial.CopyTo(state.Values.Slice(0, initial.Length));
        var optimizer = new OptimizerStep(artifacts, state, Options);
        _owned.Add(optimizer);
        return (state, optimizer);
    }

    private static TrainedParameter Parameter(string name, long offset, Orthonormality orthonormal, params long[] shape) =>
        new() { Name = name, Module = "m", Part = ParameterPart.Weight, Shape = shape, Offset = offset, Orthonormal = orthonormal };

    private static void SetGradient(TrainingState state, float[] gradient) => gradient.CopyTo(state.Gradients.Slice(0, gradient.Length));

    /// <summary>AdamW in double as its paper writes it: m̂ and v̂ apart.</summary>
    private static void AdamW(double[] p, double[] m, double[] v, float[] gradient, double scale, AdamWOptions o, double rate, int step)
    {
        for (var i = 0; i < p.Length; i++)
        {
            var g = scale * gradient[i];
            m[i] = o.Beta1 * m[i] + (1 - o.Beta1) * g;
            v[i] = o.Beta2 * v[i] + (1 - o.Beta2) * g * g;
            var mHat = m[i] / (1 - Math.Pow(o.Beta1, step));
            var vHat = v[i] / (1 - Math.Pow(o.Beta2, step));
            p[i] = p[i] - rate * o.WeightDecay * p[i] - rate * mHat / (Math.Sqrt(vHat) + o.Epsilon);
        }
    }

    [Theory]
    [InlineData(1, 0.0, 1e-3, 0.0)]
    [InlineData(10, 0.0, 1e-3, 0.0)]
    [InlineData(10, 0.01, 1e-3, 1.0)]
    [InlineData(10, 0.1, 0.5, 5.0)]   // a high rate
    [InlineData(200, 0.01, 1e-2, 1.0)]
    public void AdamW_AgreesWithDoubleArithmetic(int steps, double decay, double rate, double maxNorm)
    {
        var initial = TinyArtifacts.Noise(500, 7);
        var (state, optimizer) = Open([Parameter("w", 0, Orthonormality.None, 20, 25)], initial);
        var options = new AdamWOptions { WeightDecay = decay, MaxGradNorm = maxNorm };
        var p = Array.ConvertAll(initial, x => (double)x);
        double[] m = new double[500], v = new double[500];

        for (var t = 1; t <= steps; t++)
        {
            var gradient = TinyArtifacts.Noise(500, 100 + t);
            SetGradient(state, gradient);
            var result = optimizer.Run(options, rate);
            var norm = Math.Sqrt(gradient.Sum(g => (double)g * g));
            Assert.Equal(norm, result.GradientNorm, 1e-5 * norm);
            AdamW(p, m, v, gradient, maxNorm > 0 ? Math.Min(1, maxNorm / (norm + 1e-6)) : 1, options, rate, t);
        }

        var movement = Math.Sqrt(p.Zip(initial, (x, y) => (x - y) * (x - y)).Sum());
        Assert.True(Distance(p, TinyArtifacts.ToArray(state.Values)) < 1e-6 * movement + 1e-6, $"parameters are {Distance(p, TinyArtifacts.ToArray(state.Values))} off");
        Assert.True(Distance(m, TinyArtifacts.ToArray(state.FirstMoments)) < 1e-6 * Norm(m));
        Assert.True(Distance(v, TinyArtifacts.ToArray(state.SecondMoments)) < 2e-6 * Norm(v));
        Assert.Equal(steps, state.Step);
    }

    [Fact]
    public void AdamW_InPlaceOverManySlices_TouchesEveryElementOnce()
    {
        // Two neighbours and one after a gap; slices end inside the first. A wrong alias or slice leaves or doubles an update.
        const int Length = 600_000;
        var initial = new float[Length];
        var (state, optimizer) = Open([Parameter("a", 0, Orthonormality.None, 300_001), Parameter("b", 300_001, Orthonormality.None, 199_999),
            Parameter("c", 500_010, Orthonormality.None, Length - 500_010)], initial);
        var gradient = Enumerable.Range(0, Length).Select(i => i is >= 500_000 and < 500_010 ? 0 : (i & 1) == 0 ? 1f : -2f).ToArray();
        SetGradient(state, gradient);

        var result = optimizer.Run(new AdamWOptions { MaxGradNorm = 0 }, 1e-2);

        Assert.Equal(Math.Sqrt(gradient.Sum(g => (double)g * g)), result.GradientNorm, 1e-2);
        var values = TinyArtifacts.ToArray(state.Values);
        for (var i = 0; i < Length; i++)
        {
            // The first step of Adam goes by the rate against the gradient's sign, whatever its size.
            if (Math.Abs(values[i] + 1e-2f * Math.Sign(gradient[i])) > 1e-7)
                Assert.Fail($"element {i} moved to {values[i]}");
        }
    }

    [Fact]
    public void Regularizer_AgreesWithTheGoldens()
    {
        using var perturbed = SafetensorsReader.Open(Paths.Fixture("nano-llama", "goldens", "gradients", "r8", "perturbed.safetensors"));
        using var golden = SafetensorsReader.Open(Paths.Fixture("nano-llama", "goldens", "gradients", "r8", "ortho-at-perturbed.safetensors"));
        using var json = JsonDocument.Parse(File.ReadAllText(Paths.Fixture("nano-llama", "goldens", "gradients", "r8", "gradients.json")));
        var parameters = new List<TrainedParameter>();
        var values = new List<float>();
        foreach (var tensor in perturbed.Tensors.OrderBy(t => t.Name, StringComparer.Ordinal))
        {
            var kind = tensor.Name[^1] switch { 'A' => Orthonormality.Rows, 'B' => Orthonormality.Columns, _ => Orthonormality.None };
            parameters.Add(Parameter(tensor.Name, values.Count, kind, [.. tensor.Shape]));
            values.AddRange(perturbed.ReadFloats(tensor.Name));
        }
        var (state, optimizer) = Open(parameters, [.. values]);

        // With no task gradient, what is left in the gradients is strength·∂ortho; the rate 0 leaves the parameters alone.
        var result = optimizer.Run(new AdamWOptions { RegularizerStrength = 3 }, 0);

        Assert.Equal(json.RootElement.GetProperty("perturbed").GetProperty("ortho_loss").GetDouble(), result.OrthonormalityLoss, 5e-7);
        Assert.Equal(0, result.GradientNorm);
        double difference = 0, size = 0;
        foreach (var p in parameters)
        {
            var found = state.Gradients.Slice(p.Offset, (int)p.ElementCount);
            if (p.Orthonormal == Orthonormality.None)
            {
                Assert.Equal(0, found.IndexOfAnyExcept(0f) + 1);
                continue;
            }
            var expected = golden.ReadFloats(p.Name);
            for (var i = 0; i < expected.Length; i++)
            {
                difference += Math.Pow(found[i] / 3.0 - expected[i], 2);
                size += Math.Pow(expected[i], 2);
            }
        }
        Assert.True(Math.Sqrt(difference / size) < 5e-5, $"relative distance {Math.Sqrt(difference / size)}");
        Assert.Equal(values, TinyArtifacts.ToArray(state.Values));
    }

    [Fact]
    public void Regularizer_AtTheOrthonormalPoint_IsExactlyTheClippedTaskGradient()
    {
        // Rows and columns of the identity: M is exactly 0, where 2·M·A/‖M‖ is 0/0.
        float[] initial = [1, 0, 0, 0, 1, 0, /* B */ 1, 0, 0, 1, 0, 0];
        var (state, optimizer) = Open([Parameter("A", 0, Orthonormality.Rows, 2, 3), Parameter("B", 6, Orthonormality.Columns, 3, 2)], initial);
        float[] gradient = [3, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0];
        SetGradient(state, gradient);

        var result = optimizer.Run(new AdamWOptions { RegularizerStrength = 100, MaxGradNorm = 2.5 }, 0);

        Assert.Equal(0, result.OrthonormalityLoss);
        Assert.Equal(5, result.GradientNorm, 1e-6);
        Assert.Equal(gradient.Select(g => (double)(g / 2)), TinyArtifacts.ToArray(state.Gradients).Select(g => Math.Round(g, 6)));
    }

    [Theory]
    [InlineData(1e-6f, false)]   // ‖M‖ = 2e-6 = τ·r and below: rounding noise
    [InlineData(1e-5f, true)]
    public void Regularizer_IsOffBelowItsGuard(float excess, bool acts)
    {
        float[] initial = [1, 0, 0, 0, 1 + excess, 0];
        var (state, optimizer) = Open([Parameter("A", 0, Orthonormality.Rows, 2, 3)], initial);

        optimizer.Run(new AdamWOptions { RegularizerStrength = 1 }, 0);

        // At M = diag(0, d): 2·M·A/‖M‖ = 2 at the one entry, whatever the size of d.
        Assert.Equal(acts ? 2 : 0, TinyArtifacts.ToArray(state.Gradients)[4], 1e-3);
    }

    [Fact]
    public void Clip_ScalesRegularizedAndPlainParametersOnceEach()
    {
        float[] initial = [1, 0, 0, 1, 5, 6];
        var (state, optimizer) = Open([Parameter("A", 0, Orthonormality.Rows, 2, 2), Parameter("S", 4, Orthonormality.None, 2)], initial);
        SetGradient(state, [6, 0, 0, 0, 8, 0]);

        optimizer.Run(new AdamWOptions { MaxGradNorm = 1 }, 0);

        var moments = TinyArtifacts.ToArray(state.FirstMoments);
        Assert.Equal(0.1 * 0.6, moments[0], 1e-7);
        Assert.Equal(0.1 * 0.8, moments[4], 1e-7);
    }

    /// <summary>Scaled by a power of two and unscaled, nothing is rounded: clipped or not, regularised or not.</summary>
    [Theory]
    [InlineData(0.0)]
    [InlineData(0.5)]
    public void ScaledGradients_GiveTheBytesOfUnscaledOnes(double maxNorm)
    {
        var initial = TinyArtifacts.Noise(500, 7);
        var results = new List<(byte[] Parameters, byte[] First, byte[] Second, UpdateResult Result)>();
        foreach (var scale in (double[])[1, 65536])
        {
            using var folder = new TemporaryFolder();
            TrainedParameter[] parameters = [Parameter("A", 0, Orthonormality.Rows, 10, 20), Parameter("w", 200, Orthonormality.None, 300)];
            var artifacts = TinyArtifacts.Write(folder["artifacts"], parameters, initial);
            using var state = new TrainingState(parameters, initial.Length, training: true);
            initial.CopyTo(state.Values.Slice(0, initial.Length));
            using var optimizer = new OptimizerStep(artifacts, state, Options);
            SetGradient(state, [.. TinyArtifacts.Noise(500, 8).Select(g => (float)(g * scale))]);
            var result = optimizer.Run(new AdamWOptions { MaxGradNorm = maxNorm, RegularizerStrength = 0.1, LossScale = scale }, 1e-2);
            results.Add((TinyArtifacts.Bytes(state.Values), TinyArtifacts.Bytes(state.FirstMoments), TinyArtifacts.Bytes(state.SecondMoments), result));
        }
        Assert.Equal(results[0].Parameters, results[1].Parameters);
        Assert.Equal(results[0].First, results[1].First);
        Assert.Equal(results[0].Second, results[1].Second);
        Assert.Equal(results[0].Result, results[1].Result);
        Assert.Equal(Math.Sqrt(TinyArtifacts.Noise(500, 8).Sum(g => (double)g * g)), results[1].Result.GradientNorm, 1e-5);
    }

    [Fact]
    public void NonFiniteParameter_IsSeenBeforeTheUpdate()
    {
        float[] initial = [float.PositiveInfinity, 0, 0, 1];
        var (state, optimizer) = Open([Parameter("A", 0, Orthonormality.Rows, 2, 2)], initial);

        Assert.False(optimizer.Run(new AdamWOptions(), 1e-3).IsFinite);
        Assert.Equal(0, state.Step);
    }

    private static double Norm(double[] a) => Math.Sqrt(a.Sum(x => x * x));

    private static double Distance(double[] a, float[] b) => Math.Sqrt(a.Zip(b, (x, y) => (x - y) * (x - y)).Sum());
}
