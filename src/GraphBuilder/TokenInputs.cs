using SorsaOrt.Ir;

namespace SorsaOrt.GraphBuilder;

/// <summary>Brings the inputs and outputs of an exported model to those of training: token ids in, logits out, no cache.</summary>
/// <remarks>
/// Key/value cache inputs become empty tensors and their outputs are dropped; the lengths of the remaining inputs become the two
/// symbols <see cref="Batch"/> and <see cref="Sequence"/>, so that no broadcasting question is left open.
/// </remarks>
public static class TokenInputs
{
    /// <summary>Rows of a micro-batch.</summary>
    public static readonly Dim Batch = Dim.Symbol("batch");

    /// <summary>Tokens of a row, padding included.</summary>
    public static readonly Dim Sequence = Dim.Symbol("sequence");

    /// <summary>Inputs that a training step knows how to feed, in feeding order.</summary>
    public static readonly IReadOnlyList<string> Known = ["input_ids", "attention_mask", "position_ids"];

    /// <summary>Fixes the inputs and returns the logits [batch, sequence, vocabulary].</summary>
    /// <exception cref="UnsupportedGraphException">An input or output that training cannot serve.</exception>
    public static Value Fix(Graph graph, OpBuilder op)
    {
        var ids = graph.Inputs.FirstOrDefault(i => i.Name == Known[0])
            ?? throw new UnsupportedGraphException($"the model has no input 'input_ids' (it has {Names(graph.Inputs)}); "
                + "export a text-generation model that takes token ids");
        var unknown = new List<string>();
        foreach (var input in graph.Inputs.Where(i => i.Constant is null).ToArray())
        {
            if (Known.Contains(input.Name))
                FixTokens(input);
            else if (IsCache(input))
                MakeEmpty(graph, op, input, ids);
            else
                unknown.Add(input.ToString());
        }
        if (unknown.Count > 0)
            throw new UnsupportedGraphException($"training cannot feed the inputs {string.Join(", ", unknown)}; "
                + $"it knows {string.Join(", ", Known)} and past key/value caches");
        var logits = graph.Outputs.FirstOrDefault(o => o.Name == "logits") ?? graph.Outputs.FirstOrDefault(o => o.Shape?.Count == 3 && o.ElementType.IsFloat())
            ?? throw new UnsupportedGraphException($"the model has no output 'logits' (it has {Names(graph.Outputs)})");
        graph.RemoveOutputs(o => !ReferenceEquals(o, logits));
        return logits;
    }

    private static void FixTokens(Value input)
    {
        if (input.ElementType != ElementType.Int64 || input.Shape is not { Count: 2 })
            throw new UnsupportedGraphException($"input '{input.Name}' is {input.Type}; i64[batch,sequence] is needed");
        input.Type = new TensorType(ElementType.Int64, [Batch, Sequence]);
    }

    private static bool IsCache(Value input) =>
        input.Shape is { Count: 4 } && input.ElementType.IsFloat()
        && (input.Name.StartsWith("past", StringComparison.Ordinal) || input.Name.Contains("cache", StringComparison.Ordinal));

    private static void MakeEmpty(Graph graph, OpBuilder op, Value input, Value ids)
    {
        // A fused attention takes no past for an empty one; the GenAI builder does not even say how wide it is.
        foreach (var (node, index) in input.Uses.ToArray())
        {
            if (index > 2 && node.OpType.EndsWith("Attention", StringComparison.Ordinal))
                node.SetInput(index, null);
        }
        if (input.Uses.Count == 0)
        {
            graph.RemoveInput(input);
            return;
        }
        var shape = input.Shape!;
        if (shape[1].Value is null || shape[3].Value is null)
            throw new UnsupportedGraphException($"the cache input '{input.Name}' is {input.Type}; heads and head size must be numbers");
        op.Scope = "sorsa/no_cache";
        var batch = op.Slice(op.ShapeOf(ids), 0, 0, 1);
        var dims = op.Concat(0, batch, op.Integers(shape[1].Value!.Value, 0, shape[3].Value!.Value));
        var empty = op.Emit("ConstantOfShape", [dims], NodeAttribute.Of("value", InMemoryTensor.Scalar(input.ElementType, 0, 1)));
        empty.Type = new TensorType(input.ElementType, [Batch, shape[1], 0, shape[3]]);
        input.ReplaceAllUsesWith(empty);
        graph.RemoveInput(input);
    }

    private static string Names(IEnumerable<Value> values) => string.Join(", ", values.Select(v => $"'{v.Name}'"));
}
