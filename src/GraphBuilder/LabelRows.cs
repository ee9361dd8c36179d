using SorsaOrt.Ir;

namespace SorsaOrt.GraphBuilder;

/// <summary>Computes the end of the model at labelled positions only.</summary>
/// <remarks>
/// From the logits upwards, every node that acts on each token alone and that nothing else reads (lm_head, final norm, the last
/// block's MLP and output projection) is written again over the rows gathered at its upper border. So the vocabulary projection
/// is paid only where there is a label.
/// </remarks>
public static class LabelRows
{
    private static readonly HashSet<string> Unary = ["Sigmoid", "Tanh", "Erf", "Gelu", "Neg", "Exp", "Sqrt", "Reciprocal", "Relu", "Cast"];
    private static readonly HashSet<string> Binary = ["Add", "Sub", "Mul", "Div", "Pow"];

    /// <summary>The logits [labels, vocabulary] at the flat positions b·sequence + t of <paramref name="positions"/> [labels].</summary>
    /// <remarks>Needs a sorted graph with shapes; the graph's output <paramref name="logits"/> is dropped.</remarks>
    public static Value Gather(Graph graph, OpBuilder op, Value logits, Value positions)
    {
        var region = FindRegion(graph, logits);
        op.Scope = "sorsa/labelled";
        var gathered = new Dictionary<Value, Value>();
        foreach (var node in region)
            AtRows(node);
        graph.RemoveOutputs(o => ReferenceEquals(o, logits));
        return Row(logits);

        Value Row(Value value)
        {
            if (!IsTokens(value))
                return value;
            if (!gathered.TryGetValue(value, out var row))
            {
                var flat = value.Shape!.Count == 2 ? value : op.Reshape(value, -1, Last(value));
                gathered[value] = row = op.Gather(flat, positions);
            }
            return row;
        }

        void AtRows(Node node)
        {
            if (node.Is("Reshape"))
            {
                gathered[node.Output] = Row(node.Inputs[0]!);
                return;
            }
            IEnumerable<NodeAttribute> attributes = node.Is("Split") ? [NodeAttribute.Of("axis", -1)] : node.Attributes.Values;
            var outputs = op.Emit(node.OpType, node.Domain, node.Outputs.Count, node.Inputs.Select(i => i is null ? null : Row(i)), attributes);
            for (var i = 0; i < outputs.Count; i++)
            {
                outputs[i].Type ??= new TensorType(node.Outputs[i]!.ElementType, [positions.Shape![0], node.Outputs[i]!.Shape![^1]]);
                gathered[node.Outputs[i]!] = outputs[i];
            }
        }
    }

    // In graph order. A node belongs to the region when everything that reads it does.
    private static List<Node> FindRegion(Graph graph, Value logits)
    {
        var region = new HashSet<Node>();
        var ordered = new List<Node>();
        foreach (var node in graph.Nodes.Reverse())
        {
            var isEnd = node.Outputs.Contains(logits);
            if (node.Outputs.Contains(null) || node.Outputs.Count > 1 && !node.Is("Split") || !(isEnd || node.Outputs.Any(o => o!.Uses.Count > 0))
                || !node.Outputs.All(o => o!.Uses.All(u => region.Contains(u.Node))) || !ActsOnTokensAlone(node))
                continue;
            region.Add(node);
            ordered.Add(node);
        }
        ordered.Reverse();
        return ordered;
    }

    private static bool ActsOnTokensAlone(Node node)
    {
        if (!node.Outputs.All(o => IsTokens(o!)) || node.Inputs.Count == 0 || node.Inputs[0] is not { } first)
            return false;
        if (node.Is("Reshape"))
            return IsTokens(first) && Dim.Same(first.Shape![^1], node.Output.Shape![^1]);
        if (node.Is("Gemm"))
            return node.Int("transA", 0) == 0 && IsTokens(first) && node.Inputs.Skip(1).All(i => i is null || i.Shape is { Count: <= 1 } || IsTokens(i) || i.Shape is { Count: 2 } && ReferenceEquals(i, node.Inputs[1]));
        if (node.Is("Split"))
            return IsTokens(first) && node.Int("axis", 0) is var cut && (cut == -1 || cut == first.Shape!.Count - 1) && node.InputOrNull(1)?.Constant is not null;
        if (node.Is("MatMul"))
            return IsTokens(first) && node.Inputs[1]!.Shape is { Count: 2 } && !IsTokens(node.Inputs[1]!);
        if (node.Is("SimplifiedLayerNormalization"))
            return IsTokens(first) && node.Int("axis", -1) is var axis && (axis == -1 || axis == first.Shape!.Count - 1);
        if (node.Domain.Length == 0 && Unary.Contains(node.OpType) || node.Is("QuickGelu", "com.microsoft"))
            return IsTokens(first);
        if (node.Domain.Length == 0 && Binary.Contains(node.OpType))
            return node.Inputs.All(i => i is not null && (IsTokens(i) && i.Shape!.Count == node.Output.Shape!.Count || i.Shape is { Count: <= 1 }));
        return node.OpType is "ReduceMean" or "ReduceSum" && node.Domain.Length == 0 && IsTokens(first) && node.Int("keepdims", 1) == 1
            && node.InputOrNull(1)?.KnownElements is [{ Value: -1 }];
    }

    // [batch, sequence, n] or [batch·sequence, n] with a constant n.
    private static bool IsTokens(Value value) => value.Shape switch
    {
        [var batch, var sequence, { Value: not null }] => Dim.Same(batch, TokenInputs.Batch) && Dim.Same(sequence, TokenInputs.Sequence),
        [var tokens, { Value: not null }] => Dim.Same(tokens, TokenInputs.Batch * TokenInputs.Sequence),
        _ => false,
    };

    private static long Last(Value value) => value.Shape![^1].Value!.Value;
}
