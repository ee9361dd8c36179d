using SorsaOrt.Ir;

namespace SorsaOrt.GraphBuilder;

/// <summary>Which exporter a model came from, for people to read; nothing is decided by it.</summary>
public static class ExportFamily
{
    private const string DynamoMetadata = "pkg.torch.onnx";

    /// <summary>A short name such as <c>TorchScript (torch.onnx or optimum), fp16</c>. Call it on the model as read.</summary>
    public static string Describe(Model model)
    {
        var stored = model.Graph.Initializers.Where(v => v.Constant!.Shape.Count == 2).GroupBy(v => v.Constant!.ElementType).MaxBy(g => g.Sum(v => v.Constant!.ByteLength))?.Key;
        var type = stored switch
        {
            ElementType.Float16 => ", fp16",
            ElementType.BFloat16 => ", bf16",
            ElementType.Int8 or ElementType.UInt8 => ", int8",
            ElementType.Int4 or ElementType.UInt4 => ", int4",
            _ => "",
        };
        return Exporter(model) + type;
    }

    /// <summary>Parameters of a model as read: elements of all weights, quantised ones without their scales.</summary>
    public static long Parameters(Model model)
    {
        var quantized = model.Graph.Nodes.Select(QuantizedWeight.Of).OfType<QuantizedWeight>().DistinctBy(q => q.Values).ToList();
        var scales = quantized.Select(q => q.StoredScales).ToHashSet();
        return quantized.Sum(q => q.Shape[0] * q.Shape[1]) + model.Graph.Initializers.Where(v => v.Constant!.ElementType.IsFloat() && !scales.Contains(v)).Sum(v => v.Constant!.ElementCount);
    }

    private static string Exporter(Model model)
    {
        var nodes = model.Graph.Nodes;
        if (model.Metadata.Any(m => m.Key == "sorsa.architecture"))
            return HasCache(model) ? "sorsa export, with cache" : "sorsa export";
        if (nodes.Any(n => n.Is("GroupQueryAttention", "com.microsoft")))
            return nodes.FirstOrDefault(n => n.Is("MatMulNBits", "com.microsoft")) is { } quantized ? $"ORT GenAI builder, int{quantized.Int("bits", 4)}" : "ORT GenAI builder";
        if (model.ProducerName == "onnxruntime.transformers")
            return "onnxruntime.transformers.optimizer";
        if (nodes.Any(n => n.Domain == "com.microsoft") || nodes.Any(n => n.Is("SimplifiedLayerNormalization")))
            return "saved by an ONNX Runtime session after optimisation";
        if (nodes.Any(n => n.Metadata.Any(m => m.Key.StartsWith(DynamoMetadata, StringComparison.Ordinal))))
            return "torch.onnx (dynamo)";
        if (model.ProducerName == "pytorch" && nodes.Any(n => n.Name.StartsWith("node_", StringComparison.Ordinal)))
            return "torch.onnx (dynamo), metadata stripped";
        if (nodes.Any(n => n.Name.StartsWith("/model/", StringComparison.Ordinal)))
            return HasCache(model) ? "TorchScript (torch.onnx or optimum), with cache" : "TorchScript (torch.onnx or optimum)";
        return model.ProducerName.Length > 0 ? model.ProducerName : "unknown";
    }

    private static bool HasCache(Model model) => model.Graph.Inputs.Any(i => i.Name.StartsWith("past_key_values", StringComparison.Ordinal));
}
