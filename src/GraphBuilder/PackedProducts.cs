using SorsaOrt.Ir;

namespace SorsaOrt.GraphBuilder;

/// <summary>Brings Linears with packed weights (QKV, gate and up) into one form: the product, a Split of its outputs, the bias of each part.</summary>
/// <remarks>Needs inferred shapes, and slices made a Split already. A bias moves behind the Split, each part getting its own.</remarks>
internal static class PackedProducts
{
    /// <summary>Rewrites the graph; <paramref name="linears"/> are the products with stored weights.</summary>
    public static void Run(Graph graph, OpBuilder op, IEnumerable<Node> linears)
    {
        var changed = false;
        foreach (var linear in linears.ToArray())
        {
            var (product, bias) = (linear.Output, BiasOf(linear.Output));
            var packed = bias?.Output ?? product;
            if (graph.Outputs.Contains(product) || graph.Outputs.Contains(packed))
                continue;
            if (bias is null || SplitOf(packed) is not { } split)
                continue;
            changed = true;
            op.Scope = linear.Name.Length > 0 ? linear.Name : product.Name;
            MoveBias(graph, op, product, bias, split);
        }
        if (!changed)
            return;
        graph.RemoveUnused();
        graph.SortTopologically();
    }

    /// <summary>The Split along the last axis into parts of known lengths that alone reads <paramref name="value"/>, or null.</summary>
    public static Node? SplitOf(Value value)
    {
        if (value.Uses is not [{ InputIndex: 0, Node: { } node }] || !node.Is("Split") || value.Shape is not { } shape || node.Outputs.Count < 2)
            return null;
        var axis = node.Int("axis", 0);
        return (axis == -1 || axis == shape.Count - 1) && node.Outputs.All(o => o?.Shape?[^1].Value is > 0) ? node : null;
    }

    private static Node? BiasOf(Value product) =>
        product.Uses is [{ Node: { } node }] && node.Is("Add") && node.Inputs.Any(i => i?.Constant is { Shape.Count: 1 } bias && product.Shape?[^1].Is(bias.Shape[0]) == true) ? node : null;

    private static void MoveBias(Graph graph, OpBuilder op, Value product, Node add, Node split)
    {
        var bias = add.Inputs.First(i => i?.Constant is { Shape.Count: 1 })!;
        var lengths = split.Outputs.Select(o => o!.Shape![^1].Value!.Value).ToArray();
        var (parts, biases) = (op.Split(product, -1, lengths), op.Split(bias, 0, lengths));
        for (var i = 0; i < lengths.Length; i++)
            split.Outputs[i]!.ReplaceAllUsesWith(op.Add(parts[i], biases[i]));
        graph.RemoveNodes(new HashSet<Node> { split });
        graph.RemoveNodes(new HashSet<Node> { add });
    }
}
