using SorsaOrt.Ir;

namespace SorsaOrt.GraphBuilder;

/// <summary>A stretch of the model between two borders: everything that the tokens pass on the way from the one value to the other.</summary>
/// <param name="Start">The value it begins with, the only one that comes in from the tokens.</param>
/// <param name="End">The value it ends with, the only one that goes out.</param>
/// <param name="Nodes">Its nodes in graph order, the producer of <paramref name="End"/> last.</param>
internal sealed record LayerSegment(Value Start, Value End, IReadOnlyList<Node> Nodes);

/// <summary>Finds the residual stream: values between the token embedding and the loss that every path passes.</summary>
/// <remarks>
/// Follows the float values that descend from the embedding, whatever the exporter named them; masks, rotary tables and parameters enter
/// from the side and do not count. In any topological order the articulation points of that flow are where a single value is open, that
/// is computed and still to be read. Of those, the ones in the shape of the embedding with a matrix product since the last are borders:
/// for a Llama one before and one after each attention.
/// </remarks>
internal static class LayerBorders
{
    /// <summary>The stretches of a sorted graph between consecutive borders, first to last; the one after the last border is left out.</summary>
    /// <param name="graph">A graph with shapes, its loss added, not yet differentiated.</param>
    /// <param name="tokens">Token ids [batch, sequence].</param>
    /// <param name="loss">The loss.</param>
    public static IReadOnlyList<LayerSegment> Find(Graph graph, Value tokens, Value loss)
    {
        if (Embedding(graph, tokens) is not { } embedding)
            return [];
        var flow = Flow(graph, embedding, loss);
        var open = new Dictionary<Value, int> { [embedding] = Readers(embedding, flow) };
        var segments = new List<LayerSegment>();
        var (start, nodes, hasProduct) = (embedding, new List<Node>(), false);
        foreach (var node in graph.Nodes.Where(flow.Contains))
        {
            nodes.Add(node);
            hasProduct |= node.OpType is "Gemm" or "MatMul" or "FusedMatMul";
            foreach (var input in node.Inputs)
            {
                if (input is not null && open.TryGetValue(input, out var left))
                    _ = left == 1 ? open.Remove(input) : (open[input] = left - 1) > 0;
            }
            foreach (var output in node.Outputs)
            {
                if (output is not null && Readers(output, flow) is > 0 and var readers)
                    open[output] = readers;
            }
            if (!hasProduct || open.Count != 1 || open.Keys.First() is not { } end || end.Producer != node || end.ElementType != embedding.ElementType || !end.HasShapeOf(embedding))
                continue;
            segments.Add(new LayerSegment(start, end, nodes));
            (start, nodes, hasProduct) = (end, [], false);
        }
        return segments;
    }

    // Nodes between the embedding and the loss, along float values.
    private static HashSet<Node> Flow(Graph graph, Value embedding, Value loss)
    {
        var reached = new HashSet<Value> { embedding };
        var after = new HashSet<Node>();
        foreach (var node in graph.Nodes)
        {
            if (!node.Inputs.Any(i => i is not null && reached.Contains(i)) || node.Outputs.All(o => o is null || !o.ElementType.IsFloat()))
                continue;
            after.Add(node);
            reached.UnionWith(node.Outputs.OfType<Value>());
        }
        var wanted = new HashSet<Value> { loss };
        foreach (var node in graph.Nodes.Reverse())
        {
            if (!node.Outputs.Any(o => o is not null && wanted.Contains(o)))
                after.Remove(node);
            else if (after.Contains(node))
                wanted.UnionWith(node.Inputs.OfType<Value>());
        }
        return after;
    }

    private static int Readers(Value value, HashSet<Node> flow) => value.Uses.Count(u => flow.Contains(u.Node));

    // The one rank-3 float value that is gathered from a stored matrix by the token ids; null where there is none or more than one.
    // Where lm_head's weight [hidden, vocabulary] is the embedding, as the GenAI builder has it, its columns are gathered and then turned.
    private static Value? Embedding(Graph graph, Value tokens)
    {
        var ids = new HashSet<Value> { tokens };
        var found = new List<Value>();
        foreach (var node in graph.Nodes)
        {
            if (IsLookUp(node) && node.Output.ElementType.IsFloat() && ids.Contains(node.Inputs[1]!))
                found.Add(node.Output);
            else if (node.OpType is "Cast" or "Identity" or "Reshape" or "Unsqueeze" or "Squeeze" && ids.Contains(node.Inputs[0]!))
                ids.Add(node.Output);
        }
        if (found.Count != 1)
            return null;
        var embedding = found[0];
        while (embedding.Uses is [{ Node: var only }] && only.OpType is "Cast" or "Identity" or "Transpose")
            embedding = only.Output;
        return embedding;
    }

    // Of a table of floats, or of one of small integers.
    private static bool IsLookUp(Node node) => (node.Is("Gather") || node.Is("GatherBlockQuantized", "com.microsoft")) && node.Inputs[0]!.Shape is { Count: 2 };
}
