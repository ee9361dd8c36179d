using SorsaOrt.Artifacts;
using SorsaOrt.Ir;
using SorsaOrt.Ir.Serialization;
using SorsaOrt.Merge;
using SorsaOrt.TestSupport;
using Xunit;

namespace SorsaOrt.Cli.Tests;

/// <summary>Models whose weights arrive quantised, through the verbs: as their dequantised copies, and merged without being refused for what rounding costs.</summary>
public sealed class QuantizedModelTests(ITestOutputHelper output) : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    /// <summary>Two steps move weights by less than a rounding, and the rows mean nothing to the model.</summary>
    [Theory]
    [InlineData("nbits 4 32")]
    [InlineData("nbits 4 16 zeros")]
    [InlineData("u4 Axis")]
    [InlineData("i8 Axis")]
    [InlineData("nbits 4 32 f16")]
    [InlineData("genai-int4-cpu")]
    public void TrainedPacked_AndMergedAgain_IsVerified(string form)
    {
        Write(form);
        Build(At("q.onnx"), "artifacts");
        Train("artifacts", "run");
        var merged = Merge("run", "merged.onnx", "--verify");
        Assert.Contains("each weight is as near to the trained one", merged.Out, StringComparison.Ordinal);
        output.WriteLine($"{form}: off by {merged.Json.GetProperty("max_logit_difference").GetDouble():g3} of {merged.Json.GetProperty("logit_scale").GetDouble():g3}");
        Assert.All(merged.Json.GetProperty("requantized").EnumerateArray(), t => Assert.InRange(t.GetProperty("of_weight").GetDouble(), 1e-5, 0.2));
        Merge("run", "floats.onnx", "--verify", "--dtype", "fp32");
    }

    /// <summary>What is not the merge of that checkpoint is told by the weight, tensor or node that is wrong.</summary>
    [Theory]
    [InlineData("nothing", null)]
    [InlineData("an older checkpoint", "is off from the trained weight")]
    [InlineData("no checkpoint", "is off from the trained weight")]
    [InlineData("one integer", "model.layers.3.mlp.up_proj is off from the trained weight")]
    [InlineData("one scale", "model.layers.3.mlp.up_proj is off from the trained weight")]
    [InlineData("two weights exchanged", "model.layers.0.self_attn.q_proj is off from the trained weight")]
    [InlineData("another tensor", "'model.norm.weight' is no target and not what it was")]
    [InlineData("another node", "is not what it was")]
    public void WrongMerge_IsToldByItsWeights(string damage, string? expected)
    {
        QuantizedModels.Write("nbits 4 32", At("q.onnx"));
        Build(At("q.onnx"), "artifacts");
        Train("artifacts", "run");
        var artifacts = ArtifactSet.Open(At("artifacts"), Verification.Full);
        using var newest = CheckpointStore.OpenNamed(At("run"), artifacts);
        if (damage == "no checkpoint")
            Sorsa.Run("merge", "--artifacts", At("artifacts"), "--out", At("merged.onnx")).Expect(0);
        else
            Merge(damage == "an older checkpoint" ? "run/checkpoints/step-1" : "run", "merged.onnx");
        using (var model = OnnxReader.Read(At("merged.onnx")))
        {
            Damage(model.Graph, damage);
            File.WriteAllBytes(At("damaged.onnx"), OnnxWriter.ToBytes(model));
        }
        var mistake = WrittenWeights.Mistake(artifacts, newest, At("damaged.onnx"));
        if (expected is null)
            Assert.Null(mistake);
        else
            Assert.Contains(expected, mistake, StringComparison.Ordinal);
    }

    /// <summary>As built, artifacts are the model of the dequantised weights: the same loss, the same text.</summary>
    [Theory]
    [InlineData("nbits")]
    [InlineData("dequantize")]
    public void ArtifactsOfAQuantisedModel_EvaluateAndGenerateAsItsFloats(string kind)
    {
        static bool IsLinear(string name) => !name.Contains("embed", StringComparison.Ordinal);
        if (kind == "nbits")
            QuantizedModels.WriteNBits(Paths.TinyMath("model.onnx"), At("q.onnx"), 8, 32, withZeros: true, IsLinear);
        else
            QuantizedModels.WriteDequantizing(Paths.TinyMath("model.onnx"), At("q.onnx"), ElementType.Int8, Granularity.Axis, IsLinear);
        using (var quantised = OnnxReader.Read(At("q.onnx")))
            Assert.True(quantised.Graph.Nodes.Count(n => n.OpType is "MatMulNBits" or "DequantizeLinear") >= 28);
        QuantizedModels.WriteFloats(At("q.onnx"), At("floats.onnx"));
        Build(At("q.onnx"), "artifacts");
        string[] tokenizer = ["--tokenizer", Paths.TinyMath("tokenizer.model")];
        double Loss(params string[] of) => Sorsa.Run(["evaluate", .. of, .. tokenizer, "--data", Paths.TinyMath("test.jsonl"), "--limit", "8", "--metric", "loss", "--threads", "1", "--json"]).Expect(0).Json.GetProperty("loss").GetDouble();
        string Text(params string[] of) => Sorsa.Run(["generate", .. of, .. tokenizer, "--prompt", "Nina has 45 apples.", "--max-tokens", "24", "--threads", "1"]).Expect(0).Out;
        Assert.Equal(Loss("--model", At("floats.onnx")), Loss("--artifacts", At("artifacts")), 1e-5);
        Assert.Equal(Text("--model", At("floats.onnx")), Text("--artifacts", At("artifacts")));
    }

    private static void Damage(Graph graph, string damage)
    {
        Node Product(string module) => graph.Nodes.First(n => n.OpType == "MatMulNBits" && n.Name.Contains(module, StringComparison.Ordinal));
        Value Weight(string module) => Product(module).Inputs[1]!;
        switch (damage)
        {
            case "one integer":
                Change(graph, Weight("layers.3/mlp/up_proj"), bytes => bytes[100] ^= 0x08);
                break;
            case "one scale":
                Change(graph, Product("layers.3/mlp/up_proj").Inputs[2]!, bytes => bytes[402] ^= 0x80); // a bit of a float's exponent
                break;
            case "two weights exchanged":
                var (first, second) = (Weight("layers.0/self_attn/q_proj"), Weight("layers.1/self_attn/q_proj"));
                var (a, b) = (first.Constant!, second.Constant!);
                graph.MakeInitializer(first, b);
                graph.MakeInitializer(second, a);
                break;
            case "another tensor":
                Change(graph, graph.FindInitializer("model.norm.weight")!, bytes => bytes[3] ^= 0x01);
                break;
            case "another node":
                graph.Nodes.First(n => n.OpType == "Softmax").Attributes["axis"] = NodeAttribute.Of("axis", 1);
                break;
        }
    }

    private static void Change(Graph graph, Value initializer, Action<byte[]> change)
    {
        var bytes = new byte[initializer.Constant!.ByteLength];
        initializer.Constant.CopyTo(0, bytes);
        change(bytes);
        graph.MakeInitializer(initializer, new InMemoryTensor(initializer.ElementType, initializer.Constant.Shape, bytes));
    }

    private string At(string name) => _folder.At(name);

    private void Write(string form)
    {
        var shared = form.StartsWith("genai", StringComparison.Ordinal) ? Exports.Quantized[0] : form.EndsWith("f16", StringComparison.Ordinal) ? "nano-llama/optimum-fp16" : null;
        Assert.SkipWhen(shared is not null && Exports.FolderOrNull(shared) is null, "../shared is absent");
        if (!form.StartsWith("genai", StringComparison.Ordinal))
        {
            QuantizedModels.Write(form, At("q.onnx"));
            return;
        }
        File.Copy(Exports.Model(shared!), At("q.onnx"));
        File.Copy(Exports.Model(shared!) + ".data", At("model.onnx.data"));
    }

    private void Build(string model, string name) => Sorsa.Run("build-artifacts", "--model", model, "--out", At(name), "--rank", "4").Expect(0);

    private void Train(string artifacts, string run)
    {
        File.WriteAllLines(At("rows.jsonl"), Enumerable.Range(0, 8).Select(i => $$"""{"input_ids": [{{7 + 31 * i}}, {{503 - 59 * i}}, 117, {{11 * i + 2}}, 378, 9], "labels": [-100, -100, 117, {{11 * i + 2}}, 378, 9]}"""));
        Sorsa.Run("train", "--artifacts", At(artifacts), "--data", At("rows.jsonl"), "--out", At(run), "--max-steps", "2", "--batch-size", "2", "--accumulation", "1", "--max-length", "16", "--packing",
            "--lr", "1e-3", "--warmup", "0", "--save-every", "1", "--threads", "1").Expect(0);
    }

    private CommandOutcome Merge(string checkpoint, string name, params string[] options) =>
        Sorsa.Run(["merge", "--artifacts", At("artifacts"), "--checkpoint", At(checkpoint), "--out", At(name), "--threads", "1", "--json", .. options]).Expect(0);
}
