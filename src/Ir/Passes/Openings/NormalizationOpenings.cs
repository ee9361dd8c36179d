namespace SorsaOrt.Ir.Passes;

/// <summary>Normalisations that take in the sum before them, and the one of opset 23. The normalisation itself stays one operator: it has a rule and a kernel.</summary>
internal static class NormalizationOpenings
{
    /// <summary>RMSNormalization of opset 23 over the last axis: inputs X and scale.</summary>
    public static IReadOnlyList<Value?> RmsNormalization(OpBuilder op, Node node)
    {
        var (x, scale) = (node.Inputs[0]!, node.Inputs[1]!);
        var axis = node.Int("axis", -1);
        if (axis != -1 && axis != x.Shape?.Count - 1 || scale.Shape is not { Count: 1 })
            throw new UnsupportedGraphException($"axis {axis} with a scale of {scale.Type}; the last axis and a scale of one axis are known");
        return [op.Emit("SimplifiedLayerNormalization", [x, scale], NodeAttribute.Of("axis", -1),
            NodeAttribute.Of("epsilon", node.Float("epsilon", 1e-5f)), NodeAttribute.Of("stash_type", 1))];
    }

    /// <summary>com.microsoft SkipSimplifiedLayerNormalization: inputs input, skip, gamma, bias; outputs the normalised sum, two statistics, the sum.</summary>
    public static IReadOnlyList<Value?> SkipSimplified(OpBuilder op, Node node)
    {
        var sum = Sum(op, node, node.InputOrNull(3));
        return [op.Emit("SimplifiedLayerNormalization", [sum, node.Inputs[2]], NodeAttribute.Of("axis", -1), Epsilon(node), NodeAttribute.Of("stash_type", 1)), null, null, sum];
    }

    /// <summary>com.microsoft SkipLayerNormalization: inputs input, skip, gamma, beta, bias; outputs as <see cref="SkipSimplified"/>.</summary>
    public static IReadOnlyList<Value?> Skip(OpBuilder op, Node node)
    {
        var sum = Sum(op, node, node.InputOrNull(4));
        Value?[] inputs = node.InputOrNull(3) is { } beta ? [sum, node.Inputs[2], beta] : [sum, node.Inputs[2]];
        return [op.Emit("LayerNormalization", inputs, NodeAttribute.Of("axis", -1), Epsilon(node)), null, null, sum];
    }

    private static Value Sum(OpBuilder op, Node node, Value? bias)
    {
        var sum = op.Add(node.Inputs[0]!, node.Inputs[1]!);
        return bias is null ? sum : op.Add(sum, bias);
    }

    private static NodeAttribute Epsilon(Node node) => NodeAttribute.Of("epsilon", node.Float("epsilon", 1e-12f));
}
