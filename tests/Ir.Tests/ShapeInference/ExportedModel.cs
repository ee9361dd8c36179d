using SorsaOrt.Ir.Serialization;
using SorsaOrt.TestSupport;

namespace SorsaOrt.Ir.Tests;

/// <summary>One export of a Llama: its file, inputs of any size for it, and what its symbols then stand for.</summary>
internal sealed class ExportedModel(string family, int batch, int sequence, int past = 0)
{
    /// <summary>Families that ONNX Runtime loads on the CPU, and the fixture that is always there.</summary>
    public static IReadOnlyList<string> Families { get; } = ["fixture", .. Paths.SharedOrNull is null ? [] : new[]
    {
        "nano-llama/optimum-no-past", "nano-llama/optimum-with-past", "nano-llama/optimum-external-data", "nano-llama/optimum-fp16",
        "nano-llama/ort-optimizer", "nano-llama/ort-extended", "nano-llama/torchscript-opset14", "nano-llama/torchscript-opset17",
        "nano-llama/dynamo-opset18", "nano-llama/dynamo-opset23", "nano-llama/dynamo-opset25-stripped", "nano-llama/genai-fp16-dml",
        "nano-llama-hd16/genai-fp32-cpu", "nano-llama-hd16/genai-fp32-cpu-unfused", "nano-llama-hd16/genai-fp16-cuda",
        "nano-llama-hd16/genai-int4-cpu", "tiny-math/optimum-no-past", "tiny-math/optimum-with-past", "tiny-math/dynamo-opset18",
    }];

    public string Path { get; } = family == "fixture"
        ? Paths.Fixture("nano-llama", "optimum-no-past.onnx") : Paths.Shared("exports", family, "model.onnx");

    /// <summary>Reads the file; with <paramref name="emptyCache"/> the graph is told that the past has length 0.</summary>
    public Model Read(bool emptyCache = false)
    {
        var model = OnnxReader.Read(Path);
        foreach (var input in model.Graph.Inputs.Where(_ => emptyCache))
        {
            input.Type = new TensorType(input.ElementType, [.. input.Shape!.Select(d =>
                d.Substitute(s => s == "past_sequence_length" ? 0 : s.StartsWith("past_sequence_length + ", StringComparison.Ordinal) ? Dim.Symbol(s[23..]) : null))]);
        }
        return model;
    }

    /// <summary>What a symbol of the inputs stands for; null for other symbols.</summary>
    public Dim? Length(string symbol) => symbol switch
    {
        "batch" or "batch_size" => batch,
        "sequence" or "sequence_length" => sequence,
        "past_sequence_length" => past,
        "total_sequence_length" or "past_sequence_length + sequence_length" => past + sequence,
        "kv_cache_dim" => family.Contains("hd16", StringComparison.Ordinal) ? 16 : 8,
        _ => null,
    };

    /// <summary>Token ids without a pattern, a full mask, positions in order, a past of small numbers.</summary>
    public Dictionary<string, OrtTensor> Feeds(Model model)
    {
        var feeds = new Dictionary<string, OrtTensor>();
        foreach (var input in model.Graph.Inputs)
        {
            long[] shape = [.. input.Shape!.Select(d => d.Substitute(Length).Value!.Value)];
            var count = (int)shape.Aggregate(1L, (p, d) => p * d);
            feeds[input.Name] = input.Name switch
            {
                "input_ids" => OrtTensor.Of(Fill(count, i => (long)((i * 37 + 11) % 500)), shape),
                "attention_mask" => OrtTensor.Of(Fill(count, _ => 1L), shape),
                "position_ids" => OrtTensor.Of(Fill(count, i => (long)(past + i % sequence)), shape),
                _ when input.ElementType == ElementType.Float16 => OrtTensor.Of(Fill(count, i => (Half)(i % 7 * 0.1f)), shape),
                _ => OrtTensor.Of(Fill(count, i => i % 7 * 0.1f), shape),
            };
        }
        return feeds;
    }

    private static T[] Fill<T>(int count, Func<int, T> at) => [.. Enumerable.Range(0, count).Select(at)];
}
