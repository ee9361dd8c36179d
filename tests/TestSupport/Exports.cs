using System.Text.Json;

namespace SorsaOrt.TestSupport;

/// <summary>The exports of nano-llama by every exporter: a few in tests/Fixtures/exports, the others in ../shared (its README is the answer key).</summary>
public static class Exports
{
    /// <summary>Those that store 32-bit floats.</summary>
    public static readonly IReadOnlyList<string> Float32 =
    [
        "nano-llama/optimum-no-past", "nano-llama/optimum-with-past", "nano-llama/optimum-external-data", "nano-llama/ort-optimizer", "nano-llama/ort-extended",
        "nano-llama/torchscript-opset14", "nano-llama/torchscript-opset17", "nano-llama/dynamo-opset18", "nano-llama/dynamo-opset23",
        "nano-llama/dynamo-opset25-stripped", "nano-llama-hd16/genai-fp32-cpu", "nano-llama-hd16/genai-fp32-cpu-unfused",
    ];

    /// <summary>Those that store float16 or bfloat16.</summary>
    public static readonly IReadOnlyList<string> Narrow =
        ["nano-llama/optimum-fp16", "nano-llama/dynamo-opset18-bf16-stripped", "nano-llama/genai-fp16-dml", "nano-llama-hd16/genai-fp16-cuda"];

    /// <summary>Those that store small integers.</summary>
    public static readonly IReadOnlyList<string> Quantized = ["nano-llama-hd16/genai-int4-cpu"];

    /// <summary>The folder of an export, or null where it lies in ../shared and that is absent.</summary>
    public static string? FolderOrNull(string family)
    {
        var own = Paths.Fixture("exports", family);
        return Directory.Exists(own) ? own : Paths.SharedOrNull is null ? null : Paths.Shared("exports", family);
    }

    /// <summary>Path of the model.</summary>
    public static string Model(string family) => Path.Combine(Folder(family), "model.onnx");

    /// <summary>The answer key: inputs, Linears with their PyTorch modules, the embedding.</summary>
    public static JsonDocument Key(string family) => JsonDocument.Parse(File.ReadAllBytes(Path.Combine(Folder(family), "io.json")));

    /// <summary>Golden logits [2, 13, 512] of the weights as the file stores them, computed in float32.</summary>
    public static float[] Logits(string family)
    {
        var stored = Path.Combine(Folder(family), "logits_stored.f32");
        var bytes = File.ReadAllBytes(File.Exists(stored) ? stored : Path.Combine(Folder(family), "..", "logits.f32"));
        return [.. Enumerable.Range(0, bytes.Length / 4).Select(i => BitConverter.ToSingle(bytes, 4 * i))];
    }

    private static string Folder(string family) => FolderOrNull(family) ?? throw new InvalidOperationException("../shared is absent: skip the test before asking for it.");
}
