using SorsaOrt.Ir;

namespace SorsaOrt.GraphBuilder;

/// <summary>Models whose weights are stored quantised, which cannot be trained yet.</summary>
internal static class QuantizedWeights
{
    private static readonly HashSet<string> Products = ["MatMulNBits", "MatMulBnb4", "MatMulFpQ4", "MatMulInteger", "DynamicQuantizeMatMul", "QLinearMatMul", "MatMulIntegerToFloat"];

    /// <summary>Says so, with the first of the nodes, instead of finding no Linear.</summary>
    /// <exception cref="UnsupportedGraphException">There are such products.</exception>
    public static void Refuse(Graph graph)
    {
        var nodes = graph.Nodes.Where(n => Products.Contains(n.OpType) || (n.Is("DequantizeLinear") && n.Inputs[0]?.Constant is { Shape.Count: 2 })).ToList();
        if (nodes.Count > 0)
            throw new UnsupportedGraphException($"{nodes.Count} weights of the model are stored quantised ({string.Join(", ", nodes.Select(n => n.OpType).Distinct().Order(StringComparer.Ordinal))}; the first is read by node "
                + $"'{nodes[0].Name}'), and such a model cannot be trained yet. Train its float32 or float16 export (with --residual-dtype int4 the frozen part is quantised while it trains), and quantise the merged model.");
    }
}
