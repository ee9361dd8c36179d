namespace SorsaOrt.Ir.Passes;

/// <summary>com.microsoft GroupQueryAttention, as the ORT GenAI builder writes it.</summary>
internal static class GroupQueryAttentionOpening
{
    private static readonly (int Index, string Name)[] Unknown = [(11, "head_sink"), (12, "k_scale"), (13, "v_scale")];

    /// <summary>
    /// Inputs query, key, value, past_key, past_value, seqlens_k, total_sequence_length, cos_cache, sin_cache, position_ids, attention_bias;
    /// outputs Y and the present cache, which is not given.
    /// </summary>
    /// <remarks>
    /// query [B, S, H·D] and key, value [B, S, G·D], or query [B, S, (H + 2·G)·D] with all three; Y [B, S, H·D]. Without a past query i sees the keys
    /// j ≤ i with j ≤ seqlens_k[b], the last token's place; a window leaves the last w up to i itself. Positions are 0, 1, … unless given.
    /// Source: onnxruntime/contrib_ops/cpu/bert/group_query_attention.cc and gqa_attention_base.h.
    /// </remarks>
    public static IReadOnlyList<Value?> Open(OpBuilder op, Node node)
    {
        Refuse(node);
        var (heads, kvHeads) = (node.Int("num_heads", 0), node.Int("kv_num_heads", 0));
        if (kvHeads <= 0 || heads % kvHeads != 0)
            throw new UnsupportedGraphException($"{heads} heads over {kvHeads} key/value heads");
        var (q, k, v) = Parts(op, node, heads, kvHeads);
        var size = AttentionCore.Constant(q, 2) / heads;
        if (node.Int("do_rotary", 0) != 0)
        {
            var rotary = Rotary(op, node, q);
            (q, k) = (RotaryOpening.RotateFlat(op, q, heads, rotary), RotaryOpening.RotateFlat(op, k, kvHeads, rotary));
        }
        var scale = node.Float("scale", 0);
        var window = node.Int("local_window_size", -1);
        var seen = AttentionMasks.Causal(op, q, 1, k, 1, window > 0 ? window : 0);
        if (node.InputOrNull(5) is { } last)
        {
            var ends = op.Reshape(op.Cast(last, ElementType.Int64), -1, 1, 1, 1);
            seen = op.Emit("And", [seen, op.Emit("LessOrEqual", [AttentionMasks.Positions(op, k, 1), ends])]);
        }
        var mask = AttentionMasks.Join(op, seen, node.InputOrNull(10), q.ElementType);
        var y = AttentionCore.Build(op, new AttentionParts(AttentionCore.SplitHeads(op, q, heads), AttentionCore.SplitHeads(op, k, kvHeads),
            AttentionCore.SplitHeads(op, v, kvHeads), heads, kvHeads, scale == 0 ? 1 / MathF.Sqrt(size) : scale, node.Float("softcap", 0), mask));
        return [AttentionCore.JoinHeads(op, y, heads)];
    }

    private static void Refuse(Node node)
    {
        if (node.InputOrNull(3) is not null || node.InputOrNull(4) is not null)
            throw new UnsupportedGraphException("a past that is not empty");
        foreach (var (index, name) in Unknown)
        {
            if (node.InputOrNull(index) is not null)
                throw new UnsupportedGraphException($"the input {name}");
        }
        foreach (var name in (string[])["smooth_softmax", "qk_output"])
        {
            if (node.Int(name, 0) > 0)
                throw new UnsupportedGraphException($"{name}={node.Int(name, 0)}");
        }
    }

    private static (Value Query, Value Key, Value Value) Parts(OpBuilder op, Node node, long heads, long kvHeads)
    {
        var query = node.Inputs[0]!;
        if (node.InputOrNull(1) is { } key && node.InputOrNull(2) is { } value)
            return (query, key, value);
        var size = AttentionCore.Constant(query, 2) / (heads + 2 * kvHeads);
        var parts = op.Split(query, 2, heads * size, kvHeads * size, kvHeads * size);
        return (parts[0], parts[1], parts[2]);
    }

    private static Rotary Rotary(OpBuilder op, Node node, Value query)
    {
        if (node.InputOrNull(7) is not { } cos || node.InputOrNull(8) is not { } sin)
            throw new UnsupportedGraphException("do_rotary without cos_cache and sin_cache");
        var positions = node.InputOrNull(9) ?? AttentionMasks.Positions(op, query, 1);
        var rotary = new Rotary(op.Gather(cos, positions), op.Gather(sin, positions), node.Int("rotary_interleaved", 0) != 0);
        return node.InputOrNull(9) is null ? rotary with { Cos = op.Unsqueeze(rotary.Cos, 0), Sin = op.Unsqueeze(rotary.Sin, 0) } : rotary;
    }
}
