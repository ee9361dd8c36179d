namespace SorsaOrt.Ir.Passes;

/// <summary>Attention of opset 23 and later.</summary>
internal static class AttentionOpening
{
    /// <summary>Inputs Q, K, V, attn_mask, past_key, past_value; outputs Y, present_key, present_value, qk_matmul_output.</summary>
    /// <remarks>Q [B, H, S, D] or [B, S, H·D], Y likewise. Source: onnx/defs/nn, Attention; present values and the scores are not given.</remarks>
    public static IReadOnlyList<Value?> Open(OpBuilder op, Node node)
    {
        if (node.InputOrNull(4) is not null || node.InputOrNull(5) is not null)
            throw new UnsupportedGraphException("a past that is not empty");
        if (node.InputOrNull(6) is not null)
            throw new UnsupportedGraphException("nonpad_kv_seqlen");
        var (q, k, v) = (node.Inputs[0]!, node.Inputs[1]!, node.Inputs[2]!);
        var flat = q.Shape is { Count: 3 };
        var heads = flat ? Attribute(node, "q_num_heads") : AttentionCore.Constant(q, 1);
        var kvHeads = flat ? Attribute(node, "kv_num_heads") : AttentionCore.Constant(k, 1);
        if (flat)
            (q, k, v) = (AttentionCore.SplitHeads(op, q, heads), AttentionCore.SplitHeads(op, k, kvHeads), AttentionCore.SplitHeads(op, v, kvHeads));
        if (kvHeads == 0 || heads % kvHeads != 0)
            throw new UnsupportedGraphException($"{heads} heads over {kvHeads} key/value heads");
        var scale = node.Float("scale", 0);
        if (scale == 0)
            scale = 1 / MathF.Sqrt(AttentionCore.Constant(q, 3));
        var causal = node.Int("is_causal", 0) != 0 ? AttentionMasks.Causal(op, q, 2, k, 2) : null;
        var mask = AttentionMasks.Join(op, causal, node.InputOrNull(3), q.ElementType);
        var y = AttentionCore.Build(op, new AttentionParts(q, k, v, heads, kvHeads, scale, node.Float("softcap", 0), mask));
        return [flat ? AttentionCore.JoinHeads(op, y, heads) : y];
    }

    private static long Attribute(Node node, string name) =>
        node.Int(name, 0) is > 0 and var n ? n : throw new UnsupportedGraphException($"{name} is missing for inputs of three axes");
}
