namespace SorsaOrt.Ir.Passes;

/// <summary>com.microsoft MultiHeadAttention, as ONNX Runtime's transformer optimiser writes it.</summary>
internal static class MultiHeadAttentionOpening
{
    /// <summary>Inputs query, key, value, bias, key_padding_mask, attention_bias, past_key, past_value; outputs Y and the present cache, which is not given.</summary>
    /// <remarks>
    /// query [B, S, H·D], key and value [B, T, H·D], bias [2·H·D + H·Dv], key_padding_mask [B, T] or [B, S, T] with 0 for masked keys, Y [B, S, H·Dv].
    /// Source: onnxruntime/contrib_ops/cpu/bert/multihead_attention.cc.
    /// </remarks>
    public static IReadOnlyList<Value?> Open(OpBuilder op, Node node)
    {
        var heads = node.Int("num_heads", 0);
        if (heads <= 0 || node.InputOrNull(1) is not { Shape.Count: 3 } k || node.InputOrNull(2) is not { Shape.Count: 3 } v)
            throw new UnsupportedGraphException("a query, key and value that are not three tensors [batch, sequence, heads·size]");
        if (node.InputOrNull(6) is not null || node.InputOrNull(7) is not null)
            throw new UnsupportedGraphException("a past that is not empty");
        var q = node.Inputs[0]!;
        if (node.InputOrNull(3) is { } bias)
        {
            var (width, valueWidth) = (AttentionCore.Constant(q, 2), AttentionCore.Constant(v, 2));
            var parts = op.Split(bias, 0, width, width, valueWidth);
            (q, k, v) = (op.Add(q, parts[0]), op.Add(k, parts[1]), op.Add(v, parts[2]));
        }
        var scale = node.Float("scale", 0);
        var seen = node.Int("unidirectional", 0) != 0 ? AttentionMasks.Causal(op, q, 1, k, 1) : null;
        var mask = AttentionMasks.Join(op, seen, node.InputOrNull(5), q.ElementType);
        if (Padding(op, node, q.ElementType) is { } padding)
            mask = mask is null ? padding : op.Add(mask, padding);
        var y = AttentionCore.Build(op, new AttentionParts(AttentionCore.SplitHeads(op, q, heads), AttentionCore.SplitHeads(op, k, heads), AttentionCore.SplitHeads(op, v, heads),
            heads, heads, scale == 0 ? 1 / MathF.Sqrt(AttentionCore.Constant(q, 2) / heads) : scale, 0, mask));
        return [AttentionCore.JoinHeads(op, y, heads)];
    }

    private static Value? Padding(OpBuilder op, Node node, ElementType type)
    {
        if (node.InputOrNull(4) is not { } keys)
            return null;
        var axis = keys.Shape switch
        {
            { Count: 2 } => (long[])[1, 2],
            { Count: 3 } => [1],
            _ => throw new UnsupportedGraphException($"the key_padding_mask '{keys.Name}' ({keys.Type}); [batch, keys] or [batch, queries, keys] is known"),
        };
        var filter = node.Float("mask_filter_value", -10000);
        return op.Unsqueeze(op.Where(op.Cast(keys, ElementType.Bool), op.Constant(InMemoryTensor.Scalar(type, 0)), op.Constant(InMemoryTensor.Scalar(type, filter))), axis);
    }
}
