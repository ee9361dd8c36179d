using SorsaOrt.Ir;

namespace SorsaOrt.GraphBuilder;

/// <summary>Products of integers, whose activations are quantised too: such a model cannot be trained.</summary>
internal static class QuantizedWeights
{
    private static readonly HashSet<string> Products = ["MatMulBnb4", "MatMulFpQ4", "MatMulInteger", "DynamicQuantizeMatMul", "QLinearMatMul", "MatMulIntegerToFloat"];

    /// <summary>Says so, with the first of the nodes, instead of finding no Linear.</summary>
    /// <exception cref="UnsupportedGraphException">There are such products.</exception>
    public static void Refuse(Graph graph)
    {
        var nodes = graph.Nodes.Where(n => Products.Contains(n.OpType)).ToList();
        if (nodes.Count > 0)
            throw new UnsupportedGraphException($"{nodes.Count} products of the model are computed in a quantised form that cannot be trained ({string.Join(", ", nodes.Select(n => n.OpType).Distinct().Order(StringComparer.Ordinal))}; the first is node "
                + $"'{nodes[0].Name}'). Train its float32 or float16 export, or one with weights quantised alone (MatMulNBits or DequantizeLinear, 4 or 8 bits).");
    }
}
