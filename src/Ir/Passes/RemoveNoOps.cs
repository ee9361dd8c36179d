namespace SorsaOrt.Ir.Passes;

/// <summary>Nodes that hand on their input unchanged are taken out, and Transpose of Transpose becomes one.</summary>
/// <remarks>
/// Needs a sorted graph with inferred shapes. Graph inputs and outputs keep their names. Covers Identity, Cast to the same type,
/// Dropout in inference, Reshape and Expand to the same known shape, Transpose in place, Mul or Div by 1, Add or Sub of 0, Pow 1,
/// And with true, Slice of everything, Concat of one, Sum/Max/Min/Mean of one.
/// </remarks>
public static class RemoveNoOps
{
    /// <summary>Runs the pass on the main graph.</summary>
    /// <returns>Nodes bypassed or joined.</returns>
    public static int Run(Graph graph)
    {
        var changed = 0;
        foreach (var node in graph.Nodes.ToArray())
        {
            if (node.Domain.Length > 0 || node.Outputs.Count == 0 || node.Outputs[0] is not { } output)
                continue;
            if (PassedThrough(node) is { } input)
                changed += graph.Substitute(output, input) ? 1 : 0;
            else if (node.OpType == "Transpose")
                changed += JoinTransposes(node);
        }
        if (changed > 0)
            graph.RemoveUnused();
        return changed;
    }

    /// <summary>The input that the node gives back unchanged, or null.</summary>
    private static Value? PassedThrough(Node node)
    {
        if (node.InputOrNull(0) is not { } x)
            return null;
        var nothing = node.OpType switch
        {
            "Identity" => true,
            "Cast" => x.ElementType != ElementType.Undefined && (long)x.ElementType == node.Int("to", 0),
            "CastLike" => x.ElementType != ElementType.Undefined && x.ElementType == node.InputOrNull(1)?.ElementType,
            "Dropout" => IsInference(node),
            "Reshape" or "Expand" => x.HasShapeOf(node.Output),
            "Transpose" => node.Ints("perm") is { } p ? p.SequenceEqual(Enumerable.Range(0, p.Count).Select(i => (long)i)) : x.Shape?.Count <= 1,
            "Slice" => x.HasShapeOf(node.Output) && StepsAreOne(node),
            "Concat" or "Sum" or "Max" or "Min" or "Mean" => node.Inputs.Count == 1,
            "Div" or "Pow" => IsNeutral(node, x, node.InputOrNull(1), 1),
            "Sub" => IsNeutral(node, x, node.InputOrNull(1), 0),
            _ => false,
        };
        return nothing ? x : Commutative(node, x, node.InputOrNull(1));
    }

    private static Value? Commutative(Node node, Value a, Value? b)
    {
        double? neutral = node.OpType switch { "Mul" or "And" => 1, "Add" or "Or" => 0, _ => null };
        if (neutral is not { } n || b is null)
            return null;
        return IsNeutral(node, a, b, n) ? a : IsNeutral(node, b, a, n) ? b : null;
    }

    /// <summary>All elements of the operand are the neutral one, and broadcasting it does not change the other operand's shape.</summary>
    private static bool IsNeutral(Node node, Value kept, Value? operand, double neutral)
    {
        if (operand.ConstantOf() is not { ElementCount: > 0 and <= ConstantArithmetic.MostElements } data || kept.Shape is not { } shape)
            return false;
        if (!(data.ElementCount == 1 && data.Shape.Count <= shape.Count) && !kept.HasShapeOf(node.Output))
            return false;
        return data.ToFloat64() is { } floats ? floats.All(v => v == neutral) : data.ToInt64() is { } ints && ints.All(v => v == neutral);
    }

    private static bool IsInference(Node node)
    {
        var training = node.InputOrNull(2);
        return (training is null || training.ScalarOf() == 0) && (node.Outputs.Count < 2 || node.Outputs[1] is not { Uses.Count: > 0 });
    }

    private static bool StepsAreOne(Node node) => node.InputOrNull(4) is not { } steps
        || (NodeInference.AllConstant(steps.KnownElements) ?? steps.ConstantOf()?.ToInt64())?.All(s => s == 1) == true;

    /// <summary>Transpose(Transpose(x)) reads x itself, with the permutations composed; what becomes the identity goes in the next run.</summary>
    private static int JoinTransposes(Node outer)
    {
        if (outer.Inputs[0]?.Producer is not { } inner || !inner.Is("Transpose") || inner.Inputs[0] is not { } x
            || outer.Ints("perm") is not { } second || inner.Ints("perm") is not { } first || first.Count != second.Count)
            return 0;
        outer.Attributes["perm"] = NodeAttribute.Of("perm", [.. second.Select(axis => first[(int)axis])]);
        outer.SetInput(0, x);
        return 1;
    }
}
