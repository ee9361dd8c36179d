namespace SorsaOrt.Ir.Passes;

/// <summary>What scaled dot-product attention works on.</summary>
/// <param name="Query">[B, H, S, D].</param>
/// <param name="Key">[B, G, T, D] with H a multiple of G.</param>
/// <param name="Value">[B, G, T, Dv].</param>
/// <param name="Heads">H.</param>
/// <param name="KvHeads">G.</param>
/// <param name="Scale">Factor of the scores.</param>
/// <param name="Softcap">c of c·tanh(scores / c), before the mask; 0 for none.</param>
/// <param name="Mask">Added to the scores; broadcasts to [B, H, S, T]. Null for none.</param>
internal readonly record struct AttentionParts(Value Query, Value Key, Value Value, long Heads, long KvHeads, float Scale, float Softcap, Value? Mask);

/// <summary>softmax(scale·q·kᵀ + mask)·v in standard operators: the one place where attention is written out.</summary>
/// <remarks>
/// Heads that share a key/value head are taken as more rows of one product: [B, H, S, D] is read as [B, G, H/G·S, D], so neither keys
/// and values nor their gradients are ever repeated.
/// </remarks>
internal static class AttentionCore
{
    /// <summary>The context [B, H, S, Dv].</summary>
    public static Value Build(OpBuilder op, in AttentionParts a)
    {
        var (width, valueWidth) = (Constant(a.Key, 3), Constant(a.Value, 3));
        var group = a.Heads / a.KvHeads;
        var query = op.Mul(a.Query, a.Scale);
        if (group > 1)
            query = op.Reshape(query, 0, a.KvHeads, -1, width);
        var scores = op.MatMul(query, op.SwapLastAxes(a.Key));
        if (a.Softcap > 0)
            scores = op.Mul(op.Unary("Tanh", op.Mul(scores, 1.0 / a.Softcap)), a.Softcap);
        if (group == 1)
            return op.MatMul(op.Softmax(a.Mask is null ? scores : op.Add(scores, a.Mask), -1), a.Value);
        var keys = Length(op, a.Key, 2);
        if (a.Mask is not null)
        {
            // [B, G, H/G, S, T], so that a mask for all heads broadcasts.
            var grouped = op.Concat(0, op.Integers(0, a.KvHeads, group), Length(op, a.Query, 2), keys);
            var masked = op.Add(op.Reshape(scores, grouped), GroupedMask(op, a.Mask, a.KvHeads, group));
            scores = op.Reshape(masked, op.Concat(0, op.Integers(0, a.KvHeads, -1), keys));
        }
        return op.Reshape(op.MatMul(op.Softmax(scores, -1), a.Value), 0, a.Heads, -1, valueWidth);
    }

    /// <summary>[B, S, heads·D] as [B, heads, S, D].</summary>
    public static Value SplitHeads(OpBuilder op, Value x, long heads) => op.Transpose(op.Reshape(x, 0, 0, heads, Constant(x, 2) / heads), 0, 2, 1, 3);

    /// <summary>[B, heads, S, D] as [B, S, heads·D].</summary>
    public static Value JoinHeads(OpBuilder op, Value x, long heads) => op.Reshape(op.Transpose(x, 0, 2, 1, 3), 0, 0, heads * Constant(x, 3));

    /// <summary>The length of an axis that must be a number.</summary>
    /// <exception cref="UnsupportedGraphException">It is not known before the model runs.</exception>
    public static long Constant(Value x, int axis) => x.Shape is { } shape && axis < shape.Count && shape[axis].Value is { } length ? length
        : throw new UnsupportedGraphException($"axis {axis} of '{x.Name}' ({x.Type}) must be a number");

    /// <summary>The length of an axis as a tensor of one element.</summary>
    public static Value Length(OpBuilder op, Value x, int axis) => x.Shape?[axis].Value is { } known ? op.Integers(known) : op.Slice(op.ShapeOf(x), 0, axis, axis + 1);

    // [B | 1, H | 1, S, T] for scores [B, G, H/G, S, T].
    private static Value GroupedMask(OpBuilder op, Value mask, long kvHeads, long group)
    {
        if (mask.Shape is not { } shape || shape.Count < 3)
            return mask.Shape is null ? throw new UnsupportedGraphException($"the rank of the mask '{mask.Name}' is not known") : mask;
        if (shape[^3].Is(1))
            return op.Unsqueeze(mask, -3);
        if (!shape[^3].Is(kvHeads * group))
            throw new UnsupportedGraphException($"the mask '{mask.Name}' ({mask.Type}) must have 1 or {kvHeads * group} heads");
        var target = op.Concat(0, op.Integers([.. Enumerable.Repeat(0L, shape.Count - 3), kvHeads, group]), Length(op, mask, shape.Count - 2), Length(op, mask, shape.Count - 1));
        return op.Reshape(mask, target);
    }
}
