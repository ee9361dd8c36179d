namespace SorsaOrt.Ir.Passes;

/// <summary>x · (mean(x²) + ε)^(−½) · weight, as exporters write it out, becomes one SimplifiedLayerNormalization.</summary>
/// <remarks>
/// Needs a sorted graph with inferred shapes. Works on float32 and float64 with the mean over the last axis and a weight of one axis. Known forms: the
/// square as Pow(x, 2) or Mul(x, x); the root as Sqrt or Pow(½); its inverse as Div(1, ·), Reciprocal, Pow(−½), or a division of x by the root;
/// Casts that change nothing anywhere between. The operator is ONNX Runtime's, in the default domain: ONNX before opset 23 has none.
/// </remarks>
public static class FuseRmsNorm
{
    /// <summary>Runs the pass on the main graph.</summary>
    /// <returns>Norms fused.</returns>
    public static int Run(Graph graph)
    {
        var builder = new OpBuilder(graph);
        var fused = 0;
        foreach (var node in graph.Nodes.ToArray())
        {
            if (!node.Is("Mul") || node.Inputs is not [{ } a, { } b] || (Match(a, b) ?? Match(b, a)) is not { } norm)
                continue;
            builder.Scope = node.Name.Length > 0 ? node.Name : node.Output.Name;
            var result = builder.Emit("SimplifiedLayerNormalization", [norm.X, norm.Weight],
                NodeAttribute.Of("axis", -1), NodeAttribute.Of("epsilon", (float)norm.Epsilon), NodeAttribute.Of("stash_type", 1));
            if (result.Producer is { } made)
            {
                foreach (var entry in node.Metadata)
                    made.Metadata.Add(entry);
            }
            fused += graph.Substitute(node.Output, result) ? 1 : 0;
        }
        if (fused > 0)
        {
            graph.RemoveUnused();
            graph.SortTopologically();
        }
        return fused;
    }

    private static (Value X, Value Weight, double Epsilon)? Match(Value weight, Value normalized)
    {
        if (weight.Shape is not [var width] || Source(normalized).Producer is not { } node || node.Inputs is not [{ } a, { } b])
            return null;
        var found = node.OpType switch
        {
            "Mul" => MatchInverse(a, b) ?? MatchInverse(b, a),
            "Div" => MatchRoot(a, b),
            _ => null,
        };
        if (found is not { } norm || norm.X.Shape is not { Count: > 1 } shape || !Dim.Same(shape[^1], width))
            return null;
        return norm.X.ElementType == weight.ElementType && weight.ElementType is ElementType.Float32 or ElementType.Float64
            ? (norm.X, weight, norm.Epsilon) : null;
    }

    /// <summary>inverse = 1 / √(mean(x²) + ε).</summary>
    private static (Value X, double Epsilon)? MatchInverse(Value x, Value inverse) => Source(inverse).Producer switch
    {
        { OpType: "Reciprocal", Domain: "", Inputs: [{ } root] } => MatchRoot(x, root),
        { OpType: "Div", Domain: "", Inputs: [{ } one, { } root] } when one.ScalarOf() == 1 => MatchRoot(x, root),
        { OpType: "Pow", Domain: "", Inputs: [{ } sum, { } power] } when power.ScalarOf() == -0.5 => MatchSum(x, sum),
        _ => null,
    };

    /// <summary>root = √(mean(x²) + ε).</summary>
    private static (Value X, double Epsilon)? MatchRoot(Value x, Value root) => Source(root).Producer switch
    {
        { OpType: "Sqrt", Domain: "", Inputs: [{ } sum] } => MatchSum(x, sum),
        { OpType: "Pow", Domain: "", Inputs: [{ } sum, { } power] } when power.ScalarOf() == 0.5 => MatchSum(x, sum),
        _ => null,
    };

    private static (Value X, double Epsilon)? MatchSum(Value x, Value sum)
    {
        if (Source(sum).Producer is not { OpType: "Add", Domain: "", Inputs: [{ } a, { } b] })
            return null;
        var (mean, epsilon) = a.ScalarOf() is { } first ? (b, first) : (a, b.ScalarOf());
        if (epsilon is not { } eps || Source(mean).Producer is not { OpType: "ReduceMean", Domain: "" } reduce || !OverLastAxis(reduce))
            return null;
        var input = Source(x);
        return Source(reduce.Inputs[0]!).Producer switch
        {
            { OpType: "Pow", Inputs: [{ } root, { } two] } when two.ScalarOf() == 2 && ReferenceEquals(Source(root), input) => (input, eps),
            { OpType: "Mul", Inputs: [{ } p, { } q] } when ReferenceEquals(Source(p), input) && ReferenceEquals(Source(q), input) => (input, eps),
            _ => null,
        };
    }

    private static bool OverLastAxis(Node reduce)
    {
        var axes = reduce.Ints("axes") ?? reduce.InputOrNull(1).ConstantOf()?.ToInt64();
        return axes is [var axis] && reduce.Int("keepdims", 1) == 1 && (axis == -1 || axis == reduce.Inputs[0]!.Shape?.Count - 1);
    }

    /// <summary>The value before Identity and Casts that keep the type.</summary>
    private static Value Source(Value value)
    {
        while (value.Producer is { Domain: "", Inputs: [{ } input] } node
            && (node.OpType == "Identity" || (node.OpType == "Cast" && input.ElementType == value.ElementType && input.Type is not null)))
            value = input;
        return value;
    }
}
