using System.Text.Json;
using SorsaOrt.TestSupport;

namespace SorsaOrt.Adapters.Tests;

/// <summary>Against the reference package's numbers; tolerances from the goldens' README.</summary>
public sealed class GoldenTests
{
    private static SafetensorsFile Golden(params string[] parts) => new(Paths.Fixture(["nano-llama", "goldens", .. parts]));

    private static SafetensorsFile WeightsOrSkip()
    {
        Assert.SkipWhen(Paths.SharedOrNull is null, "../shared is absent: no weights of nano-llama");
        return new SafetensorsFile(Paths.Shared("models", "nano-llama", "model.safetensors"));
    }

    [Theory]
    [InlineData("managed")]
    [InlineData("openblas")]
    [InlineData("mkl")]
    public void Decompose_AgreesWithReference(string libraryName)
    {
        var library = LinearAlgebraTests.LoadOrSkip(libraryName);
        var weights = WeightsOrSkip();
        var golden = Golden("init", "r8", "factors.safetensors");
        var residuals = new SafetensorsFile(Paths.Shared("goldens", "nano-llama", "init", "r8", "residual.safetensors"));
        foreach (var name in golden.Adapters)
        {
            var expected = golden.Factors(name);
            var weight = weights[name + ".weight"];
            var actual = SorsaFactors.Decompose(weight, expected.OutFeatures, expected.InFeatures, false, 8, null, library);
            Assert.True(Matrices.LargestDifference(expected.S, actual.S) <= 5e-5, name);
            var product = Matrices.Product(actual).Zip(Matrices.Product(expected), (x, y) => Math.Abs(x - y)).Max();
            Assert.True(product <= 5e-5, $"{name}: product {product:g3}");
            var residual = new float[weight.Length];
            Residual.Compute(weight, false, actual, 1, residual, library);
            Assert.True(Matrices.LargestDifference(residuals[name + ".Wr"], residual) <= 5e-5, name);
            AssertVectorsEqualUpToSign(expected, actual, name);
        }
    }

    private static void AssertVectorsEqualUpToSign(SorsaFactors expected, SorsaFactors actual, string name)
    {
        for (var i = 0; i < expected.Rank; i++)
        {
            var row = Enumerable.Range(i * expected.InFeatures, expected.InFeatures).ToArray();
            var sign = Math.Sign(row.Sum(j => expected.A[j] * actual.A[j]));
            Assert.All(row, j => Assert.Equal(expected.A[j], sign * actual.A[j], 1e-3));
            var column = Enumerable.Range(0, expected.OutFeatures).Select(j => (j * expected.Rank) + i);
            Assert.All(column, j => Assert.Equal(expected.B[j], sign * actual.B[j], 1e-3));
        }
        Assert.True(Orthonormality.RowDeviation(actual.A, actual.Rank, actual.InFeatures) <= 1e-6 * actual.Rank, name);
    }

    [Fact]
    public void Orthonormality_AgreesWithReferenceAtThePerturbedPoint()
    {
        var point = Golden("gradients", "r8", "perturbed.safetensors");
        var gradients = Golden("gradients", "r8", "ortho-at-perturbed.safetensors");
        using var json = JsonDocument.Parse(File.ReadAllText(Paths.Fixture("nano-llama", "goldens", "gradients", "r8", "gradients.json")));
        var adapters = point.Adapters.ToDictionary(n => n, point.Factors);

        Assert.Equal(OrthoLoss(json.RootElement), Orthonormality.Mean(adapters.Values), 5e-7);
        List<float> actualA = [], actualB = [], expectedA = [], expectedB = [];
        foreach (var (name, f) in adapters)
        {
            float[] a = new float[f.A.Length], b = new float[f.B.Length];
            Orthonormality.RowGradient(f.A, f.Rank, f.InFeatures, 0.5 / adapters.Count, a);
            Orthonormality.ColumnGradient(f.B, f.OutFeatures, f.Rank, 0.5 / adapters.Count, b);
            actualA.AddRange(a);
            actualB.AddRange(b);
            expectedA.AddRange(gradients[name + ".A"]);
            expectedB.AddRange(gradients[name + ".B"]);
        }
        Assert.True(Matrices.RelativeDistance(actualA, expectedA) <= 1e-6);
        Assert.True(Matrices.RelativeDistance(actualB, expectedB) <= 1e-6);
    }

    private static double OrthoLoss(JsonElement root) => root.GetProperty("perturbed").GetProperty("ortho_loss").GetDouble();

    [Fact]
    public void Pissa_AgreesWithReferenceUpToSign()
    {
        var weights = WeightsOrSkip();
        var start = new SafetensorsFile(Paths.Shared("goldens", "nano-llama", "trajectory-pissa", "start.safetensors"));
        using var json = JsonDocument.Parse(File.ReadAllText(Paths.Shared("goldens", "nano-llama", "trajectory-pissa", "run.json")));
        foreach (var name in start.Adapters)
        {
            var (rank, inFeatures, outFeatures) = (start.Shape(name + ".A")[0], start.Shape(name + ".A")[1], start.Shape(name + ".B")[0]);
            var expected = new SorsaFactors(rank, outFeatures, inFeatures, start[name + ".A"], [.. Enumerable.Repeat(1f, rank)], start[name + ".B"]);
            var principal = SorsaFactors.Decompose(weights[name + ".weight"], outFeatures, inFeatures, false, rank);
            var pissa = LoraFactors.Pissa(principal, Scale(json.RootElement, rank));
            var actual = new SorsaFactors(rank, outFeatures, inFeatures, pissa.A, expected.S, pissa.B);
            var product = Matrices.Product(actual).Zip(Matrices.Product(expected), (x, y) => Math.Abs(x - y)).Max();
            Assert.True(product <= 5e-5, $"{name}: product {product:g3}");
            // The square root is split evenly: each row of A is as long as the reference's.
            for (var i = 0; i < rank; i++)
                Assert.Equal(Length(expected.A, i, inFeatures), Length(actual.A, i, inFeatures), 1e-4);
        }
    }

    private static double Length(float[] a, int row, int columns) => Math.Sqrt(a.Skip(row * columns).Take(columns).Sum(x => (double)x * x));

    private static double Scale(JsonElement root, int rank)
    {
        var run = root.GetProperty("run");
        return run.TryGetProperty("alpha", out var alpha) && alpha.ValueKind == JsonValueKind.Number ? alpha.GetDouble() / rank : 1;
    }
}
