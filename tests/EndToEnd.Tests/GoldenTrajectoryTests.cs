using System.Text.Json;
using SorsaOrt.Artifacts;
using Xunit;

namespace SorsaOrt.EndToEnd.Tests;

/// <summary>Whole runs of the reference, repeated through the command line from the same factors.</summary>
public sealed class GoldenTrajectoryTests
{
    [Theory]
    [InlineData("sorsa-gamma0")]
    [InlineData("sorsa-gamma")]
    [InlineData("sorsa-gamma-wd")]
    [InlineData("sorsa-r16-alpha8")]
    [InlineData("sorsa-svd-start-guarded")]
    [InlineData("pissa")]
    [InlineData("lora")]
    [InlineData("full")]
    public void Trajectory_FollowsTheReference(string name)
    {
        var folder = $"trajectory-{name}/";
        if (Goldens.Find(folder + "run.json") is not { } record)
        {
            Assert.Skip("../shared/goldens is absent");
            return;
        }
        using var golden = JsonDocument.Parse(File.ReadAllBytes(record));
        var run = golden.RootElement.GetProperty("run");
        using var scratch = new ScratchFolder();
        var start = Build(scratch, folder, run);
        if (start is null)
        {
            Assert.Skip("../shared/goldens is absent");
            return;
        }
        Goldens.WriteRows(scratch["rows.jsonl"]);
        Sorsa.Run(["train", "--artifacts", scratch["artifacts"], "--data", scratch["rows.jsonl"], "--out", scratch["run"], .. Goldens.TrainOptions(run)])
            .Expect(0);

        var guarded = run.TryGetProperty("tau", out _);
        var rowTolerance = guarded ? 5e-5 : 2e-5;
        var steps = Goldens.Steps(scratch["run"]);
        var expected = golden.RootElement.GetProperty("steps");
        Assert.Equal(expected.GetArrayLength(), steps.Count);
        for (var i = 0; i < steps.Count; i++)
        {
            double Of(JsonElement e, string key) => e.GetProperty(key).GetDouble();
            var (e, s) = (expected[i], steps[i]);
            Assert.Equal(i + 1, s.GetProperty("step").GetInt32());
            Goldens.Near(Of(e, "lr"), Of(s, "lr"), 1e-6, 1e-3, $"lr of step {i + 1}");
            Goldens.Near(Of(e, "loss"), Of(s, "loss"), rowTolerance, 1, $"loss of step {i + 1}");
            Goldens.Near(Of(e, "grad_norm"), Of(s, "grad_norm"), 5e-4, Of(e, "grad_norm"), $"gradient norm of step {i + 1}");
            if (e.TryGetProperty("ortho", out var ortho) && ortho.ValueKind == JsonValueKind.Number)
                Goldens.Near(ortho.GetDouble(), Of(s, "ortho_loss"), 5e-6, 1, $"ortho of step {i + 1}");
        }
        CompareFinal(scratch, folder, start, run.GetProperty("steps").GetInt32(), guarded);
        CompareMerged(scratch, folder, guarded);
    }

    // Returns the file of starting parameters, or null for a full run whose start is the model.
    private static string? Build(ScratchFolder scratch, string folder, JsonElement run)
    {
        var method = run.GetProperty("method").GetString()!;
        var options = new List<string> { "build-artifacts", "--model", Goldens.Model, "--out", scratch["artifacts"], "--method", method };
        string? start = null;
        if (method == "sorsa")
        {
            var set = run.GetProperty("set").GetString()!;
            var perturbed = run.GetProperty("start").GetString() == "perturbed";
            start = Goldens.Find(perturbed ? $"gradients/{set}/perturbed.safetensors" : $"init/{set}/factors.safetensors");
            options.AddRange(set == "r8" ? ["--rank", "8"] : ["--rank", "16", "--alpha", "8"]);
            if (perturbed)
            {
                if (Goldens.Find($"init/{set}/residual.safetensors") is not { } residual || !File.Exists(residual))
                    return null;
                options.AddRange(["--factors", start!, residual]);
            }
        }
        else if (method != "full")
        {
            start = Goldens.Find(folder + "start.safetensors");
            options.AddRange(["--rank", run.GetProperty("rank").GetRawText(), "--alpha", run.GetProperty("alpha").GetRawText()]);
        }
        if (start is null && method != "full")
            return null;
        if (!options.Contains("--factors") && start is not null)
            options.AddRange(["--factors", start]);
        Sorsa.Run([.. options]).Expect(0);
        return start ?? "";
    }

    private static void CompareFinal(ScratchFolder scratch, string folder, string start, int steps, bool guarded)
    {
        if (start.Length == 0 || Goldens.Find(folder + "final.safetensors") is not { } final)
            return;
        using var actual = SafetensorsReader.Open(Path.Combine(scratch["run"], "checkpoints", $"step-{steps}", "parameters.safetensors"));
        using var expected = SafetensorsReader.Open(final);
        using var from = SafetensorsReader.Open(start);
        var factors = Goldens.OfMovement(actual, expected, from, "A", "B");
        Assert.True(factors <= (guarded ? 5e-3 : 1e-4), $"A and B are off by {factors} of their movement");
        if (expected.Tensors.Any(t => t.Name.EndsWith(".S", StringComparison.Ordinal)))
        {
            var values = Goldens.OfMovement(actual, expected, from, "S");
            Assert.True(values <= 2e-3, $"S is off by {values} of its movement");
        }
    }

    private static void CompareMerged(ScratchFolder scratch, string folder, bool guarded)
    {
        if (Goldens.Find(folder + "merged.safetensors") is not { } merged || !File.Exists(merged))
            return;
        Sorsa.Run("merge", "--artifacts", scratch["artifacts"], "--checkpoint", scratch["run"], "--out", scratch["merged.onnx"], "--verify").Expect(0);
        using var expected = SafetensorsReader.Open(merged);
        var weights = MergedWeights.Read(scratch["merged.onnx"]);
        double difference = 0, norm = 0, largest = 0;
        foreach (var tensor in expected.Tensors)
        {
            var (e, a) = (expected.ReadFloats(tensor.Name), weights[tensor.Name]);
            Assert.Equal(e.Length, a.Length);
            for (var i = 0; i < e.Length; i++)
            {
                difference += Math.Pow((double)a[i] - e[i], 2);
                norm += Math.Pow(e[i], 2);
                largest = Math.Max(largest, Math.Abs((double)a[i] - e[i]));
            }
        }
        Assert.True(Math.Sqrt(difference / norm) <= (guarded ? 5e-5 : 5e-6), $"merged weights are off by {Math.Sqrt(difference / norm)}");
        Assert.True(largest <= (guarded ? 5e-4 : 2e-5), $"a merged weight is off by {largest}");
    }
}
