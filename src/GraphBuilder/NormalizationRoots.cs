using SorsaOrt.Ir;

namespace SorsaOrt.GraphBuilder;

/// <summary>Takes 1/√(mean(x²) + ε), which the gradient of an RMS normalisation computes again, from the normalisation's second output.</summary>
/// <remarks>It is one number per row, so that keeping it costs nothing, and it saves a pass over x and four nodes. float32 alone: the kernels give it in that type.</remarks>
internal static class NormalizationRoots
{
    /// <summary>Rewrites a differentiated graph and returns how many roots went away.</summary>
    public static int Run(Graph graph, OpBuilder op)
    {
        var replaced = 0;
        foreach (var norm in graph.Nodes.Where(n => n.Is("SimplifiedLayerNormalization") && n.Outputs.Count == 1 && n.Inputs[0]!.ElementType == ElementType.Float32).ToArray())
        {
            var roots = norm.Inputs[0]!.Uses.Select(u => RootOf(u.Node, norm)).OfType<Value>().ToArray();
            if (roots.Length == 0)
                continue;
            op.Scope = norm.Name;
            var both = op.Emit(norm.OpType, "", 2, norm.Inputs, norm.Attributes.Values);
            both[0].Type = norm.Output.Type;
            both[1].Type = roots[0].Type;
            norm.Output.ReplaceAllUsesWith(both[0], graph);
            foreach (var root in roots)
                root.ReplaceAllUsesWith(both[1], graph);
            graph.RemoveNodes(new HashSet<Node> { norm });
            replaced += roots.Length;
        }
        if (replaced > 0)
            graph.SortTopologically();
        return replaced;
    }

    // The reciprocal at the end of ReduceSumSquare · 1/n + ε → Sqrt → Reciprocal, as NormalizationRules writes it for this node; null for another.
    private static Value? RootOf(Node squares, Node norm)
    {
        if (!squares.Is("ReduceSumSquare") || squares.Inputs[0]!.Shape is not [.., { Value: { } width }] shape || squares.InputOrNull(1)?.Constant?.ToInt64() is not [var axis]
            || axis != shape.Count - 1 || norm.Int("axis", -1) is not -1 and var start && start != axis)
            return null;
        return Then(squares, "Mul", 1.0 / width) is { } mean && Then(mean, "Add", norm.Float("epsilon", 1e-5f)) is { } sum
            && Then(sum, "Sqrt", null) is { } root && Then(root, "Reciprocal", null) is { } reciprocal ? reciprocal.Output : null;
    }

    private static Node? Then(Node node, string opType, double? number) => node.Output.Uses is [{ InputIndex: 0, Node: { } next }] && next.Is(opType)
        && (number is not { } n || next.Inputs[1]?.Constant?.ScalarValue is { } value && (float)value == (float)n) ? next : null;
}
