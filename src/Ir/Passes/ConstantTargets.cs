namespace SorsaOrt.Ir.Passes;

/// <summary>Reshape and Expand get a constant target where it follows from the axes of their own input, so that no shape is computed for them.</summary>
/// <remarks>
/// Needs inferred shapes. A Reshape copies an axis with 0 and leaves at most one length open with −1; an Expand keeps an axis with 1. The target
/// then no longer depends on other tensors, so nodes that only computed it go. A symbol is taken to be one length wherever it stands.
/// </remarks>
public static class ConstantTargets
{
    /// <summary>Runs the pass on the main graph.</summary>
    /// <returns>Targets made constant.</returns>
    public static int Run(Graph graph)
    {
        var changed = 0;
        foreach (var node in graph.Nodes)
        {
            if (node.Domain.Length > 0 || node.OpType is not ("Reshape" or "Expand") || node.InputOrNull(1) is not { Constant: null }
                || node.InputOrNull(0)?.Shape is not { } from || node.Output.Shape is not { } to)
                continue;
            var target = node.OpType == "Expand" ? ExpandTarget(from, to) : node.Int("allowzero", 0) == 0 ? ReshapeTarget(from, to) : null;
            if (target is null)
                continue;
            node.SetInput(1, graph.AddKnownInitializer(node.Output.Name + "/target", InMemoryTensor.Vector(target)));
            changed++;
        }
        if (changed > 0)
            graph.RemoveUnused();
        return changed;
    }

    private static long[]? ReshapeTarget(IReadOnlyList<Dim> from, IReadOnlyList<Dim> to)
    {
        var target = new long[to.Count];
        for (var i = 0; i < target.Length; i++)
        {
            if (to[i].Is(0))
                return null;
            target[i] = to[i].Value ?? (i < from.Count && Dim.Same(from[i], to[i]) ? 0 : -1);
        }
        return target.Count(t => t == -1) <= 1 ? target : null;
    }

    private static long[]? ExpandTarget(IReadOnlyList<Dim> from, IReadOnlyList<Dim> to)
    {
        var target = new long[to.Count];
        for (var i = 1; i <= target.Length; i++)
        {
            var kept = i <= from.Count && Dim.Same(from[^i], to[^i]);
            if (!kept && to[^i].Value is null)
                return null;
            target[^i] = kept ? 1 : to[^i].Value!.Value;
        }
        return target;
    }
}
