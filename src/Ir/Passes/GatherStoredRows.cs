namespace SorsaOrt.Ir.Passes;

/// <summary>An embedding read from a transposed weight reads the weight's columns instead: Gather(Wᵀ, ids) becomes Gather(W, ids) along axis 1, turned.</summary>
/// <remarks>
/// Needs a sorted graph with inferred shapes. The ORT GenAI builder stores a tied table as lm_head multiplies it; a runtime that computes Wᵀ once, or folds it,
/// holds the table twice.
/// </remarks>
public static class GatherStoredRows
{
    /// <summary>Runs the pass on the main graph.</summary>
    /// <returns>Gathers rewritten.</returns>
    public static int Run(Graph graph)
    {
        var op = new OpBuilder(graph);
        var changed = 0;
        foreach (var node in graph.Nodes.ToArray())
        {
            if (!node.Is("Gather") || node.Int("axis", 0) != 0 || node.Inputs[1]!.Shape is not { } indices
                || node.Inputs[0]!.Producer is not { } turn || !turn.Is("Transpose") || turn.Inputs[0] is not { Constant.Shape.Count: 2 } stored || turn.Ints("perm") is [0, 1])
                continue;
            op.Scope = node.Name.Length > 0 ? node.Name : node.Output.Name;
            var columns = op.Gather(stored, node.Inputs[1]!, axis: 1);
            changed += graph.Substitute(node.Output, op.Transpose(columns, [.. Enumerable.Range(1, indices.Count).Select(i => (long)i), 0])) ? 1 : 0;
        }
        if (changed > 0)
        {
            graph.RemoveUnused();
            graph.SortTopologically();
        }
        return changed;
    }
}
