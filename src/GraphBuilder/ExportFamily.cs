using SorsaOrt.Ir;

namespace SorsaOrt.GraphBuilder;

/// <summary>Which exporter a model came from, for people to read; nothing is decided by it.</summary>
public static class ExportFamily
{
    /// <summary>A short name such as <c>TorchScript (torch.onnx or optimum)</c>.</summary>
    public static string Describe(Model model)
    {
        var nodes = model.Graph.Nodes;
        if (model.Metadata.Any(m => m.Key == "sorsa.architecture"))
            return HasCache(model) ? "sorsa export, with cache" : "sorsa export";
        if (nodes.Any(n => n.Is("GroupQueryAttention", "com.microsoft")))
            return nodes.Any(n => n.Is("MatMulNBits", "com.microsoft")) ? "ORT GenAI builder, int4" : "ORT GenAI builder";
        if (nodes.Any(n => n.Domain == "com.microsoft") || nodes.Any(n => n.Is("SimplifiedLayerNormalization")))
            return "optimised by ONNX Runtime";
        if (nodes.Any(n => n.Metadata.Any(m => m.Key.StartsWith("pkg.torch.onnx", StringComparison.Ordinal))))
            return "torch.onnx (dynamo)";
        if (nodes.Any(n => n.Name.StartsWith("/model/", StringComparison.Ordinal)))
            return HasCache(model) ? "TorchScript (torch.onnx or optimum), with cache" : "TorchScript (torch.onnx or optimum)";
        return model.ProducerName.Length > 0 ? model.ProducerName : "unknown";
    }

    private static bool HasCache(Model model) => model.Graph.Inputs.Any(i => i.Name.StartsWith("past_key_values", StringComparison.Ordinal));
}
