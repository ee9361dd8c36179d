using SorsaOrt.Ir;

namespace SorsaOrt.GraphBuilder;

/// <summary>Builds the inside of each layer again for the backward pass, so that only the values at the borders stay from the forward pass.</summary>
/// <remarks>
/// The copies read the layer's first value behind the gradient that arrives at the layer's end (<see cref="OpBuilder.Behind"/>): ONNX Runtime can
/// neither merge them with the originals (common subexpressions) nor run them before that is there. Everything from outside the layer (weights, parameters, masks, rotary tables) is read as it is.
/// </remarks>
internal static class LayersAgain
{
    private static readonly HashSet<string> Random = ["Dropout", "RandomNormalLike", "RandomUniformLike", "RandomNormal", "RandomUniform", "Bernoulli", "Multinomial"];

    /// <summary>Rewrites a differentiated graph.</summary>
    /// <param name="op">Builder of the graph.</param>
    /// <param name="segments">Stretches of the forward graph.</param>
    /// <param name="gradients">Gradients at the ends of the stretches.</param>
    /// <param name="forward">Nodes of the forward graph; all others are of the backward pass.</param>
    /// <returns>Stretches computed twice.</returns>
    public static int Run(OpBuilder op, IReadOnlyList<LayerSegment> segments, IReadOnlyDictionary<Value, Value> gradients, IReadOnlySet<Node> forward)
    {
        var count = 0;
        op.Scope = "sorsa/again";
        foreach (var segment in segments)
        {
            var inside = segment.Nodes.SelectMany(n => n.Outputs).OfType<Value>().Where(v => v != segment.End).ToHashSet();
            var late = inside.Where(v => v.Uses.Any(u => !forward.Contains(u.Node))).ToList();
            if (late.Count == 0 || !gradients.TryGetValue(segment.End, out var gradient))
                continue;
            var copies = new Dictionary<Value, Value> { [segment.Start] = op.Behind(segment.Start, gradient) };
            foreach (var node in Needed(segment.Nodes, late))
                Copy(op, node, copies);
            foreach (var value in late.Where(copies.ContainsKey))
            {
                foreach (var use in value.Uses.Where(u => !forward.Contains(u.Node)).ToArray())
                    use.Node.SetInput(use.InputIndex, copies[value]);
            }
            count++;
        }
        return count;
    }

    /// <summary>Those of <paramref name="nodes"/>, in graph order, that the late values come from. Random nodes keep their first result.</summary>
    public static IEnumerable<Node> Needed(IReadOnlyList<Node> nodes, IEnumerable<Value> late)
    {
        var wanted = late.ToHashSet();
        var needed = new List<Node>();
        foreach (var node in nodes.Reverse())
        {
            if (Random.Contains(node.OpType) || !node.Outputs.Any(o => o is not null && wanted.Contains(o)))
                continue;
            needed.Add(node);
            wanted.UnionWith(node.Inputs.OfType<Value>());
        }
        needed.Reverse();
        return needed;
    }

    /// <summary>Appends <paramref name="node"/> again over the copies made so far, and adds its outputs to them.</summary>
    public static void Copy(OpBuilder op, Node node, Dictionary<Value, Value> copies)
    {
        var inputs = node.Inputs.Select(i => i is null ? null : copies.GetValueOrDefault(i, i));
        var outputs = op.Emit(node.OpType, node.Domain, node.Outputs.Count, inputs.ToArray(), node.Attributes.Values);
        for (var i = 0; i < outputs.Count; i++)
        {
            if (node.Outputs[i] is not { } original)
                continue;
            (outputs[i].Type, outputs[i].KnownElements) = (original.Type, original.KnownElements);
            copies[original] = outputs[i];
        }
    }
}
