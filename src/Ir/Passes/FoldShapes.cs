namespace SorsaOrt.Ir.Passes;

/// <summary>Values that are known before the model runs become initializers.</summary>
/// <remarks>
/// Needs a sorted graph; infers shapes itself. Folds contents that shape inference knows as constants, arithmetic on constants of at
/// most 1024 elements, and leaves out parts of a Concat that have length 0 on its axis. What is large stays computed, and so do matrices
/// of floating-point numbers, which may be weights. Results agree to the last bit but for Pow, Exp, Log, Sin and Cos (one unit in the last place).
/// </remarks>
public static class FoldShapes
{
    private const int MostRounds = 8;

    /// <summary>Runs the pass on the main graph until nothing folds any more.</summary>
    /// <returns>Values folded and Concat parts left out.</returns>
    public static int Run(Graph graph)
    {
        var total = 0;
        for (var round = 0; round < MostRounds; round++)
        {
            ShapeInference.Infer(graph);
            var folded = graph.Nodes.ToArray().Sum(node => Fold(graph, node));
            total += folded;
            if (folded == 0)
                break;
            graph.RemoveUnused();
        }
        return total;
    }

    private static int Fold(Graph graph, Node node)
    {
        var folded = 0;
        foreach (var output in node.Outputs)
        {
            if (output is { Uses.Count: > 0 } && KnownData(output) is { } data)
            {
                output.ReplaceAllUsesWith(graph.AddKnownInitializer(output.Name + "/folded", data));
                folded++;
            }
        }
        if (folded == 0 && node.Outputs is [{ Uses.Count: > 0 } value] && ConstantArithmetic.Evaluate(node) is { } result)
        {
            value.ReplaceAllUsesWith(graph.AddKnownInitializer(value.Name + "/folded", result));
            folded++;
        }
        return folded + DropEmptyParts(node);
    }

    /// <summary>Integer contents that inference found, all of them constants.</summary>
    private static InMemoryTensor? KnownData(Value value)
    {
        if (value.Shape is not { Count: <= 1 } shape || NodeInference.AllConstant(value.KnownElements) is not { } elements)
            return null;
        return ConstantArithmetic.FromIntegers(value.ElementType, [.. elements], shape.Count == 0 ? [] : [elements.Count]);
    }

    private static int DropEmptyParts(Node node)
    {
        if (!node.Is("Concat") || node.Output.Shape is not { Count: > 0 } shape)
            return 0;
        var axis = NodeInference.Axis(node.Int("axis", 0), shape.Count);
        var kept = node.Inputs.Where(p => p?.Shape is not { } s || !s[axis].Is(0)).ToArray();
        if (kept.Length == 0)
            kept = [node.Inputs[0]];
        var dropped = node.Inputs.Count - kept.Length;
        if (dropped > 0)
            node.SetInputs(kept);
        return dropped;
    }
}
