namespace SorsaOrt.Ir;

/// <summary>The order in which ONNX Runtime runs the nodes of a graph in its default setting.</summary>
/// <remarks>
/// Not the order of the file: a depth-first walk backwards from the nodes that nothing reads, the last of the file first, and through
/// each node's producers, again the last of the file first. So a node runs when it is first needed, and what only feeds an output runs
/// when the walk comes to it. Source: GraphViewer and Graph::ReverseDFSFrom of onnxruntime/core/graph; the runtime's own rewrites
/// (fusions, constant folding) happen before and are not known here.
/// </remarks>
public static class ExecutionOrder
{
    /// <summary>The nodes of <paramref name="graph"/> in that order.</summary>
    public static IReadOnlyList<Node> Of(Graph graph)
    {
        var position = graph.Nodes.Index().ToDictionary(n => n.Item, n => n.Index);
        var order = new List<Node>(position.Count);
        var seen = new HashSet<Node>();
        var pending = new Stack<(Node Node, bool ProducersDone)>();
        foreach (var node in graph.Nodes.Where(IsEnd))
            pending.Push((node, false));
        while (pending.TryPop(out var next))
        {
            if (next.ProducersDone)
            {
                order.Add(next.Node);
                continue;
            }
            if (!seen.Add(next.Node))
                continue;
            pending.Push((next.Node, true));
            foreach (var producer in Producers(next.Node).OrderBy(p => position[p]))
            {
                if (!seen.Contains(producer))
                    pending.Push((producer, false));
            }
        }
        return order;
    }

    /// <summary>
    /// Puts the nodes that only feed outputs at the end of the file, those that can run first last, so that ONNX Runtime runs
    /// each as soon as its inputs are there and what it reads is freed.
    /// </summary>
    /// <remarks>
    /// In the order of a derived graph every parameter gradient but one waits for the end of the step and keeps its activations alive.
    /// This order costs nothing and no optimiser of ONNX Runtime undoes it: nodes keep their relative order.
    /// </remarks>
    public static void RunEndsEarly(Graph graph)
    {
        graph.SortTopologically();
        // How soon a node can run is told by the longest path to it, not by its place in the file: copies that only one end reads stand late there.
        var depth = new Dictionary<Node, int>(graph.Nodes.Count);
        foreach (var node in graph.Nodes)
            depth[node] = 1 + Producers(node).Select(p => depth[p]).DefaultIfEmpty(0).Max();
        var position = graph.Nodes.Index().ToDictionary(n => n.Item, n => n.Index);
        graph.MoveToEnd([.. graph.Nodes.Where(IsEnd).OrderByDescending(n => depth[n]).ThenByDescending(n => position[n])]);
    }

    private static bool IsEnd(Node node) => node.Outputs.All(o => o is null || o.Uses.Count == 0);

    private static IEnumerable<Node> Producers(Node node) => Graph.ReadBy(node).Select(v => v.Producer).OfType<Node>().Distinct();
}
