namespace SorsaOrt.Ir;

/// <summary>Attention operators of opset 23 and of ONNX Runtime, and rotary embeddings.</summary>
internal static class AttentionShapes
{
    public static void AddTo(ShapeRuleTable table) => table
        .Add(n => n.Set(0, n.ElementType(0), n.Shape(0)), "RotaryEmbedding")
        .AddMicrosoft(n => n.Set(0, n.ElementType(0), n.Shape(0)), "RotaryEmbedding")
        .Add(Attention, "Attention")
        .AddMicrosoft(GroupQueryAttention, "GroupQueryAttention")
        .AddMicrosoft(MultiHeadAttention, "MultiHeadAttention");

    /// <summary>Q [B, H, S, D] or [B, S, H·D]: Y alike with the head size of V; present key and value [B, Hkv, past + S', D].</summary>
    private static void Attention(NodeInference n)
    {
        var (q, k, v) = (n.Shape(0), n.Shape(1), n.Shape(2));
        var type = n.ElementType(0);
        if (q is null || k is null || v is null)
        {
            n.Set(0, type, null);
            return;
        }
        var (heads, kvHeads) = (n.Node.Int("q_num_heads", 0), n.Node.Int("kv_num_heads", 0));
        if (q.Count == 4)
        {
            n.Set(0, type, [q[0], q[1], q[2], v[3]]);
        }
        else
        {
            var headSize = kvHeads > 0 && v[^1].TryDivide(kvHeads, out var d) ? d : Dim.Unknown;
            n.Set(0, type, [q[0], q[1], headSize * heads]);
            k = Heads(k, kvHeads);
            v = Heads(v, kvHeads);
        }
        var past = n.Has(4) ? n.Shape(4)?[2] ?? Dim.Unknown : 0;
        Dim total = k[2] + past;
        n.Set(1, type, [k[0], k[1], total, k[3]]);
        n.Set(2, n.ElementType(2), [v[0], v[1], total, v[3]]);
        n.Set(3, type, [q[0], q.Count == 4 ? q[1] : heads, q[^2], total]);
    }

    private static Dim[] Heads(IReadOnlyList<Dim> shape, long heads) =>
        [shape[0], heads, shape[1], heads > 0 && shape[2].TryDivide(heads, out var size) ? size : Dim.Unknown];

    /// <summary>query [B, S, H·D] (or packed with key and value: [B, S, (H + 2·Hkv)·D]); present key and value [B, Hkv, total, D].</summary>
    private static void GroupQueryAttention(NodeInference n)
    {
        var type = n.ElementType(0);
        var (heads, kvHeads) = (n.Node.Int("num_heads", 0), n.Node.Int("kv_num_heads", 0));
        if (n.Shape(0) is not { Count: 3 } query)
        {
            n.Set(0, type, null);
            return;
        }
        var packed = !n.Has(1);
        var headSize = query[2].TryDivide(packed ? heads + 2 * kvHeads : heads, out var size) ? size : Dim.Unknown;
        n.Set(0, type, [query[0], query[1], packed ? headSize * heads : query[2]]);
        // The cache is as long as the past and the new tokens together, unless it is a shared buffer: then the past is the buffer.
        var past = n.Shape(3) is { Count: 4 } cache ? cache[2] : n.Has(3) ? Dim.Unknown : 0;
        IReadOnlyList<Dim> present = [query[0], kvHeads, past.Is(0) ? query[1] : Dim.Unknown, headSize];
        n.Set(1, n.Has(3) ? n.ElementType(3) : type, present);
        n.Set(2, n.Has(4) ? n.ElementType(4) : type, present);
    }

    private static void MultiHeadAttention(NodeInference n)
    {
        var value = n.Shape(2);
        if (n.Shape(0) is not { Count: 3 } query || value is { Count: not 3 })
        {
            n.Set(0, n.ElementType(0), null);
            return;
        }
        n.Set(0, n.ElementType(0), [query[0], query[1], value is null ? Dim.Unknown : value[2]]);
    }
}
