namespace SorsaOrt.Ir.Passes;

/// <summary>Constant nodes, in every attribute form that holds numbers, become initializers of the same name; Identity of an initializer goes.</summary>
/// <remarks>Needs nothing. Afterwards no Constant node is left but those that are graph outputs, or hold strings or sparse tensors.</remarks>
public static class ConstantNodesToInitializers
{
    /// <summary>Runs the pass on the main graph.</summary>
    /// <returns>Nodes removed.</returns>
    public static int Run(Graph graph)
    {
        var kept = graph.Outputs.Concat(HandedOutBySubgraphs(graph)).ToHashSet();
        var removed = new HashSet<Node>();
        var renames = new List<(Value Initializer, string Name)>();
        foreach (var node in graph.Nodes)
        {
            if (node.Outputs is not [{ } output] || kept.Contains(output))
                continue;
            if (node.Is("Constant") && GeneratorShapes.ConstantOf(node) is { } data)
            {
                var initializer = graph.AddKnownInitializer(output.Name, data);
                output.ReplaceAllUsesWith(initializer);
                renames.Add((initializer, output.Name));
            }
            else if (node.Is("Identity") && node.InputOrNull(0) is { Constant: not null } source)
            {
                output.ReplaceAllUsesWith(source);
            }
            else
            {
                continue;
            }
            removed.Add(node);
        }
        graph.RemoveNodes(removed);
        foreach (var (initializer, name) in renames)
            graph.Rename(initializer, name);
        return removed.Count;
    }

    /// <summary>What subgraphs may give back as it is: such a reader is no use of the value.</summary>
    private static IEnumerable<Value> HandedOutBySubgraphs(Graph graph) => graph.Nodes
        .Where(node => node.Attributes.Values.Any(a => a.Kind is AttributeKind.Graph or AttributeKind.Graphs))
        .SelectMany(Graph.ReadBy);
}
