using Microsoft.ML.OnnxRuntime;
using SorsaOrt.Artifacts;
using SorsaOrt.TestSupport;
using Xunit;

namespace SorsaOrt.EndToEnd.Tests;

/// <summary>A trained adapter for every loader, through <c>./sorsa</c>.</summary>
public sealed class ExportAdapterTests
{
    [Fact]
    public void EveryFormat_AndOnnxRuntimeLoadsItsOwn()
    {
        using var scratch = new ScratchFolder();
        Goldens.WriteRows(scratch["rows.jsonl"]);
        Sorsa.Run("build-artifacts", "--model", Goldens.Model, "--out", scratch["artifacts"], "--rank", "8").Expect(0);
        Sorsa.Run("train", "--artifacts", scratch["artifacts"], "--data", scratch["rows.jsonl"], "--out", scratch["run"], "--max-length", "48", "--max-steps", "5",
            "--batch-size", "4", "--accumulation", "1", "--lr", "1e-3", "--threads", "1").Expect(0);
        Sorsa.Run("merge", "--artifacts", scratch["artifacts"], "--checkpoint", scratch["run"], "--out", scratch["merged.onnx"]).Expect(0);
        CommandOutcome Export(string format, string name) => Sorsa.Run(
            "export-adapter", "--artifacts", scratch["artifacts"], "--checkpoint", scratch["run"], "--format", format, "--out", scratch[name], "--json").Expect(0);

        var report = Export("onnx_adapter", "adapter.onnx_adapter").Json;
        Assert.Equal((35, 16, 0.0), (report.GetProperty("targets").GetInt32(), report.GetProperty("rank").GetInt32(), report.GetProperty("left_out").GetDouble()));
        using var adapter = OrtLoraAdapter.Create(scratch["adapter.onnx_adapter"], null);
        var (merged, adapted) = (Logits(scratch["merged.onnx"]), Logits(scratch["adapter.base.onnx"], adapter));
        Assert.InRange(merged.Zip(adapted, (a, b) => Math.Abs(a - b)).Max(), 0, 1e-4 * merged.Max(Math.Abs));

        Export("peft", "peft");
        using var peft = SafetensorsReader.Open(Path.Combine(scratch["peft"], "adapter_model.safetensors"));
        Assert.Equal([16L, 64L], peft["base_model.model.model.layers.4.mlp.gate_proj.lora_A.weight"].Shape);
        Export("safetensors", "delta.safetensors");
        using var delta = SafetensorsReader.Open(scratch["delta.safetensors"]);
        Assert.Equal([16L], delta["model.layers.4.mlp.gate_proj.S"].Shape);
    }

    private static float[] Logits(string path, OrtLoraAdapter? adapter = null)
    {
        using var options = OrtRun.Options();
        using var session = new InferenceSession(path, options);
        var feeds = new Dictionary<string, OrtTensor>
        {
            ["input_ids"] = OrtTensor.Of<long>([1, 403, 407, 261, 378], 1, 5),
            ["attention_mask"] = OrtTensor.Of<long>([1, 1, 1, 1, 1], 1, 5),
            ["position_ids"] = OrtTensor.Of<long>([0, 1, 2, 3, 4], 1, 5),
        };
        return OrtRun.Run(session, feeds.Where(f => session.InputMetadata.ContainsKey(f.Key)).ToDictionary(), ["logits"], adapter)["logits"].As<float>();
    }
}
