namespace SorsaOrt.Ir.Passes;

/// <summary>All simplifying passes, in the order in which they help each other.</summary>
/// <remarks>Needs opset 11 to 26. Afterwards the graph is sorted, in the working opset, with inferred shapes; the model's results are the same.</remarks>
public static class Simplify
{
    private const int MostRounds = 6;

    /// <summary>Runs the passes until nothing changes.</summary>
    /// <returns>Sum of what the passes changed.</returns>
    /// <exception cref="UnsupportedGraphException">The opset is too old or too new.</exception>
    public static int Run(Model model)
    {
        var graph = model.Graph;
        graph.SortTopologically();
        var total = ToWorkingOpset.Run(model) + ConstantNodesToInitializers.Run(graph);
        for (var round = 0; round < MostRounds; round++)
        {
            var changed = FoldShapes.Run(graph) + ConstantTargets.Run(graph) + RemoveNoOps.Run(graph)
                + CommonSubexpressions.Run(graph) + EqualContents.Run(graph);
            total += changed;
            if (changed == 0)
                break;
        }
        ShapeInference.Infer(graph);
        total += FuseRmsNorm.Run(graph) + SlicesToSplits.Run(graph);
        ShapeInference.Infer(graph);
        return total;
    }
}
