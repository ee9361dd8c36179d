using System.Text.Json;
using Microsoft.ML.OnnxRuntime;
using SorsaOrt.Adapters;
using SorsaOrt.Artifacts;
using SorsaOrt.Ir;
using SorsaOrt.Ir.Serialization;
using SorsaOrt.TestSupport;
using Xunit;

namespace SorsaOrt.Cli.Tests;

/// <summary><c>sorsa export-adapter</c>: the original model with the adapter is the merged model.</summary>
public sealed class ExportAdapterTests(ITestOutputHelper output) : IDisposable
{
    private static readonly string Model = Paths.Fixture("nano-llama", "optimum-no-past.onnx");
    private readonly TemporaryFolder _folder = new();
    private int _headSize;

    public static TheoryData<string> Families => [.. Exports.Float32, .. Exports.Narrow.Where(f => !f.Contains("bf16", StringComparison.Ordinal)), .. Exports.Quantized];

    public void Dispose() => _folder.Dispose();

    [Theory]
    [MemberData(nameof(Families))]
    public void OnnxAdapter_MakesTheOriginalModelTheMergedOne_ForEveryFamily(string family)
    {
        Assert.SkipWhen(Exports.FolderOrNull(family) is null, "../shared is absent");
        var model = Exports.Model(family);
        var isQuantized = Exports.Quantized.Contains(family);
        if (isQuantized)
            QuantizedModels.WriteExact(model, model = At("exact-hd16.onnx"));
        Train(model);
        Export("onnx_adapter", "math.onnx_adapter");
        // The adapter stands beside the integers and loses nothing by rounding; so does the merged model of floats.
        Sorsa.Run("merge", "--artifacts", At("artifacts"), "--checkpoint", At("run"), "--out", At("merged/model.onnx"), "--dtype", isQuantized ? "fp32" : "keep").Expect(0);
        using var adapter = OrtLoraAdapter.Create(At("math.onnx_adapter"), null);
        var (original, plain, adapted, merged) = (Logits(model), Logits(At("math.base.onnx")), Logits(At("math.base.onnx"), adapter), Logits(At("merged/model.onnx")));
        var scale = merged.Max(MathF.Abs);
        output.WriteLine($"{family}: training moved logits by {Difference(merged, original):e1} of {scale:f1}; without adapter off by {Difference(plain, original):e1}, with it by {Difference(adapted, merged):e1}");
        var tolerance = Exports.Narrow.Contains(family) ? 5e-3f : 1e-5f;
        Assert.InRange(Difference(plain, original), 0, tolerance * scale);
        Assert.InRange(Difference(adapted, merged), 0, tolerance * scale);
        Assert.InRange(Difference(merged, original), 20 * tolerance * scale, float.MaxValue);
    }

    [Theory]
    [InlineData("sorsa", 4)]
    [InlineData("pissa", 4)]
    [InlineData("lora", 4, "--alpha", "8")]
    [InlineData("sorsa", 24)] // k and v are [32, 64]: 2r is more than a matrix of theirs can have
    public void Peft_FoldedByItsOwnTensors_GivesTheMergedWeights(string method, int rank, params string[] options)
    {
        Train(Model, ["--method", method, .. options], rank);
        Export("peft", "peft");
        using var config = JsonDocument.Parse(File.ReadAllBytes(At("peft/adapter_config.json")));
        var settings = config.RootElement;
        Assert.Equal(["peft_type", "task_type"], settings.EnumerateObject().Take(2).Select(p => p.Name));
        Assert.Equal(["down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj"],
            settings.GetProperty("target_modules").EnumerateArray().Select(m => m.GetString()!).Order(StringComparer.Ordinal));
        using var tensors = SafetensorsReader.Open(At("peft/adapter_model.safetensors"));
        var seen = 0;
        CompareWithMerged((module, weight) =>
        {
            // As PEFT does: rank and alpha of the module's pattern or the common ones, W += alpha/r · lora_B·lora_A.
            int Of(string common, string pattern) => settings.GetProperty(pattern).TryGetProperty(module, out var own) ? own.GetInt32() : settings.GetProperty(common).GetInt32();
            var (r, alpha) = (Of("r", "rank_pattern"), Of("lora_alpha", "alpha_pattern"));
            var (a, b) = (Tensor(tensors, $"base_model.model.{module}.lora_A.weight"), Tensor(tensors, $"base_model.model.{module}.lora_B.weight"));
            Assert.Equal((r, r), (a.Shape[0], b.Shape[1]));
            Assert.Equal(Math.Min(method == "lora" ? rank : 2 * rank, Math.Min(a.Shape[1], b.Shape[0])), r);
            seen += 2;
            var factors = new LoraFactors(r, (int)b.Shape[0], (int)a.Shape[1], a.Values, b.Values);
            Residual.Fold(weight, true, factors, (double)alpha / r, weight);
        }, 1e-6f);
        Assert.Equal(seen, tensors.Tensors.Count);
    }

    [Fact]
    public void Peft_NamesModulesOneByOne_WhereARoleIsNotTrainedInEveryLayer()
    {
        Train(Model, ["--targets", @"re:layers\.[01]\.self_attn\.q_proj$"]);
        Export("peft", "peft");
        using var config = JsonDocument.Parse(File.ReadAllBytes(At("peft/adapter_config.json")));
        Assert.Equal(["model.layers.0.self_attn.q_proj", "model.layers.1.self_attn.q_proj"], config.RootElement.GetProperty("target_modules").EnumerateArray().Select(m => m.GetString()!));
    }

    [Fact]
    public void Safetensors_HoldsSingularTriplesOfTheChange_ThatBuildArtifactsReadsBack()
    {
        Train(Model);
        Export("safetensors", "delta.safetensors");
        using var tensors = SafetensorsReader.Open(At("delta.safetensors"));
        CompareWithMerged((module, weight) => Residual.Fold(weight, true, Triples(tensors, module), 1, weight), 1e-6f);
        var triples = Triples(tensors, "model.layers.0.self_attn.q_proj");
        Assert.Equal(triples.S.OrderDescending(), triples.S);
        Assert.InRange(Adapters.Orthonormality.RowDeviation(triples.A, triples.Rank, triples.InFeatures), 0, 1e-5);

        Sorsa.Run("build-artifacts", "--model", Model, "--out", At("again"), "--rank", "8", "--factors", At("delta.safetensors")).Expect(0);
        using var read = SafetensorsReader.Open(At("again/parameters.safetensors"));
        foreach (var tensor in tensors.Tensors)
            Assert.Equal(tensors.ReadFloats(tensor.Name), read.ReadFloats(tensor.Name));
    }

    /// <summary>A residual rounded to bfloat16 is another weight than the one training started from: the adapter is over the original all the same.</summary>
    [Fact]
    public void RoundedResidual_GivesTheNearestOfItsRank_AndSaysWhatStaysOut()
    {
        Train(Model, ["--residual-dtype", "bf16"]);
        var said = Export("safetensors", "delta.safetensors");
        var left = said.Json.GetProperty("left_out").GetDouble();
        Assert.Contains("rounded to bf16", said.Error, StringComparison.Ordinal);
        using var tensors = SafetensorsReader.Open(At("delta.safetensors"));
        var (nearest, fromFactors, change) = (0.0, 0.0, 0.0);
        using var start = SafetensorsReader.Open(At("artifacts/parameters.safetensors"));
        using var trained = SafetensorsReader.Open(Path.Combine(At("run"), "checkpoints", "step-6", "parameters.safetensors"));
        using var original = OnnxReader.Read(Model);
        using var merged = Merged();
        foreach (var (module, name) in Weights())
        {
            var (w, m) = (original.Graph.FindInitializer(name)!.Constant!.ToArray<float>(), merged.Graph.FindInitializer(name)!.Constant!.ToArray<float>());
            change += Squares(m, w);
            var near = (float[])w.Clone();
            Residual.Fold(near, true, Triples(tensors, module), 1, near);
            nearest += Squares(m, near);
            Residual.Fold(w, true, Triples(trained, module), 1, w);
            Residual.Fold(w, true, Triples(start, module), -1, w);
            fromFactors += Squares(m, w);
        }
        output.WriteLine($"of the change stays out {Math.Sqrt(nearest / change):e2}, of B·S·A − B₀·S₀·A₀ {Math.Sqrt(fromFactors / change):e2}");
        Assert.Equal(Math.Sqrt(nearest / change), left, 1e-3 * left);
        Assert.InRange(nearest, 0, fromFactors);
    }

    [Fact]
    public void OnnxAdapter_OfSomePartsOfPackedWeights()
    {
        const string Family = "nano-llama-hd16/genai-fp32-cpu";
        Assert.SkipWhen(Exports.FolderOrNull(Family) is null, "../shared is absent");
        Train(Exports.Model(Family), ["--targets", "q_proj,v_proj,down_proj"]);
        Export("onnx_adapter", "a/x.onnx_adapter");
        Sorsa.Run("merge", "--artifacts", At("artifacts"), "--checkpoint", At("run"), "--out", At("merged/model.onnx")).Expect(0);
        using var adapter = OrtLoraAdapter.Create(At("a/x.onnx_adapter"), null);
        var merged = Logits(At("merged/model.onnx"));
        Assert.InRange(Difference(Logits(At("a/x.base.onnx"), adapter), merged), 0, 1e-5f * merged.Max(MathF.Abs));
    }

    [Fact]
    public void OneBase_ServesTheAdaptersOfAllCheckpoints()
    {
        Train(Model);
        Export("onnx_adapter", "first.onnx_adapter", "step-3");
        Export("onnx_adapter", "second.onnx_adapter", "step-6", "--no-base");
        Assert.False(File.Exists(At("second.base.onnx")));
        using var session = new InferenceSession(At("first.base.onnx"), OrtRun.Options());
        using var first = OrtLoraAdapter.Create(At("first.onnx_adapter"), null);
        using var second = OrtLoraAdapter.Create(At("second.onnx_adapter"), null);
        float[] Run(OrtLoraAdapter? adapter) => OrtRun.Run(session, Feeds(session), ["logits"], adapter)["logits"].As<float>();
        var (before, one, two, after) = (Run(null), Run(first), Run(second), Run(null));
        Assert.Equal(before, after);
        Assert.InRange(Difference(one, two), 1e-3, float.MaxValue);
        Assert.InRange(Difference(before, one), 1e-3, float.MaxValue);
    }

    [Fact]
    public void FullFineTuning_IsRefusedInWords()
    {
        Train(Model, ["--method", "full"]);
        var refused = Sorsa.Run("export-adapter", "--artifacts", At("artifacts"), "--checkpoint", At("run"), "--format", "peft", "--out", At("peft")).ExpectRefusal();
        Assert.Contains("sorsa merge", refused.Error, StringComparison.Ordinal);
        Assert.False(Directory.Exists(At("peft")));
    }

    [Theory]
    [InlineData("peft", "out")]
    [InlineData("onnx_adapter", "out.onnx_adapter")]
    [InlineData("safetensors", "out.safetensors")]
    public void ExistingOutput_IsRefused_AndReplacedWithForce(string format, string name)
    {
        Train(Model);
        Export(format, name);
        var before = _folder.Everything();
        string[] again = ["export-adapter", "--artifacts", At("artifacts"), "--checkpoint", At("run"), "--format", format, "--out", At(name)];
        Assert.Contains("--force", Sorsa.Run(again).ExpectRefusal().Error, StringComparison.Ordinal);
        Sorsa.Run([.. again, "--force"]).Expect(0);
        Assert.Equal(before, _folder.Everything());
    }

    private string At(string name) => _folder.At(name);

    private void Train(string model, string[]? options = null, int rank = 4)
    {
        _headSize = model.Contains("-hd16", StringComparison.Ordinal) ? 16 : 8;
        File.WriteAllLines(At("rows.jsonl"), Enumerable.Range(0, 8).Select(i => $$"""{"input_ids": [1, {{403 + i}}, 407, 261, 378, 432, 317], "labels": [-100, -100, 407, 261, 378, 432, 317]}"""));
        Sorsa.Run(["build-artifacts", "--model", model, "--out", At("artifacts"), "--rank", $"{rank}", .. options ?? []]).Expect(0);
        Sorsa.Run("train", "--artifacts", At("artifacts"), "--data", At("rows.jsonl"), "--out", At("run"), "--max-steps", "6", "--batch-size", "4", "--accumulation", "1",
            "--lr", "3e-3", "--warmup", "0", "--save-every", "3", "--threads", "1").Expect(0);
    }

    private CommandOutcome Export(string format, string name, string? checkpoint = null, params string[] options) => Sorsa.Run(["export-adapter", "--artifacts", At("artifacts"),
        "--checkpoint", checkpoint is null ? At("run") : Path.Combine(At("run"), "checkpoints", checkpoint), "--format", format, "--out", At(name), "--json", .. options]).Expect(0);

    private Model Merged()
    {
        Sorsa.Run("merge", "--artifacts", At("artifacts"), "--checkpoint", At("run"), "--out", At("merged.onnx"), "--force").Expect(0);
        return OnnxReader.Read(At("merged.onnx"));
    }

    // Module and initializer of every Linear that is trained, from the export's answer key.
    private static IEnumerable<(string Module, string Weight)> Weights()
    {
        using var key = JsonDocument.Parse(File.ReadAllBytes(Paths.Fixture("nano-llama", "io.json")));
        return [.. key.RootElement.GetProperty("linears").EnumerateArray()
            .Select(l => (l.GetProperty("module").GetString()!, l.GetProperty("weight").GetString()!)).Where(l => l.Item1 != "lm_head")];
    }

    private void CompareWithMerged(Action<string, float[]> apply, float tolerance)
    {
        using var original = OnnxReader.Read(Model);
        using var merged = Merged();
        foreach (var (module, name) in Weights())
        {
            var (w, m) = (original.Graph.FindInitializer(name)!.Constant!.ToArray<float>(), merged.Graph.FindInitializer(name)!.Constant!.ToArray<float>());
            Assert.InRange(Difference(w, m), 1e-3, float.MaxValue);
            apply(module, w);
            Assert.InRange(Difference(w, m), 0, tolerance * Math.Max(1, m.Max(MathF.Abs)));
        }
    }

    private static (IReadOnlyList<long> Shape, float[] Values) Tensor(SafetensorsReader file, string name) => (file[name].Shape, file.ReadFloats(name));

    private static SorsaFactors Triples(SafetensorsReader file, string module)
    {
        var (a, s, b) = (Tensor(file, module + ".A"), Tensor(file, module + ".S"), Tensor(file, module + ".B"));
        return new SorsaFactors(s.Values.Length, (int)b.Shape[0], (int)a.Shape[1], a.Values, s.Values, b.Values);
    }

    private float[] Logits(string path, OrtLoraAdapter? adapter = null)
    {
        using var options = OrtRun.Options();
        using var session = new InferenceSession(path, options);
        var logits = OrtRun.Run(session, Feeds(session), ["logits"], adapter)["logits"];
        return logits.Data is Half[] halves ? Array.ConvertAll(halves, h => (float)h) : logits.As<float>();
    }

    // Two rows of eight tokens; an empty past where there is one.
    private Dictionary<string, OrtTensor> Feeds(InferenceSession session) => session.InputMetadata.ToDictionary(i => i.Key, i => i.Key switch
    {
        "input_ids" => OrtTensor.Of(Enumerable.Range(0, 16).Select(n => n % 8 == 0 ? 1L : 403 + (n * 7)).ToArray(), 2, 8),
        "attention_mask" => OrtTensor.Of(Enumerable.Repeat(1L, 16).ToArray(), 2, 8),
        "position_ids" => OrtTensor.Of(Enumerable.Range(0, 16).Select(n => n % 8L).ToArray(), 2, 8),
        _ when i.Value.ElementType == typeof(float) => OrtTensor.Of(Array.Empty<float>(), Past(i.Value.Dimensions)),
        _ => OrtTensor.Of(Array.Empty<Half>(), Past(i.Value.Dimensions)),
    });

    private long[] Past(int[] declared) => [2, declared[1], 0, _headSize];

    private static float Difference(float[] a, float[] b)
    {
        Assert.Equal(a.Length, b.Length);
        return a.Zip(b, (x, y) => MathF.Abs(x - y)).Max();
    }

    private static double Squares(float[] a, float[] b) => a.Zip(b, (x, y) => ((double)x - y) * ((double)x - y)).Sum();
}
