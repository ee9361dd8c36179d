namespace SorsaOrt.Ir.Passes;

/// <summary>Rotation of every position: cosines and sines [B or 1, S, R/2], and which elements make a pair.</summary>
/// <param name="Cos">Cosines; R elements of a head are rotated.</param>
/// <param name="Sin">Sines.</param>
/// <param name="Interleaved">Pairs are neighbours (0, 1), (2, 3), …; otherwise element i and i + R/2.</param>
internal readonly record struct Rotary(Value Cos, Value Sin, bool Interleaved);

/// <summary>RotaryEmbedding of opset 23 and of com.microsoft, written as x·cos + turned(x)·sin, the form of the exporters that do not fuse it.</summary>
internal static class RotaryOpening
{
    /// <summary>Opset 23: inputs X, cos_cache, sin_cache, position_ids; caches [B, S, R/2], or [positions, R/2] with position_ids [B, S].</summary>
    /// <remarks>X [B, H, S, D], or [B, S, H·D] with num_heads.</remarks>
    public static IReadOnlyList<Value?> Open(OpBuilder op, Node node)
    {
        var (x, cos, sin) = (node.Inputs[0]!, node.Inputs[1]!, node.Inputs[2]!);
        if (node.InputOrNull(3) is { } positions)
            (cos, sin) = (op.Gather(cos, positions), op.Gather(sin, positions));
        return [Rotate(op, x, node.Int("num_heads", 0), new Rotary(cos, sin, node.Int("interleaved", 0) != 0))];
    }

    /// <summary>com.microsoft: inputs X, position_ids [B, S] or [1] (the first one's), cos_cache, sin_cache [positions, R/2].</summary>
    /// <remarks>X as in <see cref="Open"/>; with num_heads 0 the caches tell the head size. Source: onnxruntime/contrib_ops/cpu/bert/rotary_embedding.cc.</remarks>
    public static IReadOnlyList<Value?> OpenMicrosoft(OpBuilder op, Node node)
    {
        if (node.Int("is_packed_batching", 0) != 0)
            throw new UnsupportedGraphException("is_packed_batching");
        if (node.Float("scale", 1) != 1)
            throw new UnsupportedGraphException($"scale {node.Float("scale", 1)}");
        var (x, positions, cos, sin) = (node.Inputs[0]!, node.Inputs[1]!, node.Inputs[2]!, node.Inputs[3]!);
        var heads = node.Int("num_heads", 0);
        if (x.Shape is { Count: 3 } && heads == 0)
            heads = AttentionCore.Constant(x, 2) / (2 * AttentionCore.Constant(cos, 1));
        var isOffset = positions.Shape switch
        {
            { Count: 1 } or { Count: 0 } => true,
            { Count: 2 } => false,
            _ => throw new UnsupportedGraphException($"position_ids '{positions.Name}' ({positions.Type}); one or two axes are needed"),
        };
        if (isOffset)
            positions = op.Unsqueeze(op.Add(AttentionMasks.Positions(op, x, x.Shape!.Count - 2), positions), 0);
        return [Rotate(op, x, heads, new Rotary(op.Gather(cos, positions), op.Gather(sin, positions), node.Int("interleaved", 0) != 0))];
    }

    /// <summary>[B, S, heads·D] with every head rotated.</summary>
    public static Value RotateFlat(OpBuilder op, Value x, long heads, in Rotary rotary)
    {
        var width = AttentionCore.Constant(x, 2);
        return op.Reshape(RotateHeads(op, op.Reshape(x, 0, 0, heads, width / heads), rotary, headAxis: 2), 0, 0, width);
    }

    private static Value Rotate(OpBuilder op, Value x, long heads, in Rotary rotary) => x.Shape switch
    {
        { Count: 4 } => RotateHeads(op, x, rotary, headAxis: 1),
        { Count: 3 } when heads > 0 => RotateFlat(op, x, heads, rotary),
        { Count: 3 } => throw new UnsupportedGraphException("num_heads is missing for an input of three axes"),
        _ => throw new UnsupportedGraphException($"its input '{x.Name}' ({x.Type}); three or four axes are needed"),
    };

    // x [.., .., .., D] with its heads on headAxis; the first R elements of a head are rotated.
    private static Value RotateHeads(OpBuilder op, Value x, in Rotary rotary, int headAxis)
    {
        var (size, half) = (AttentionCore.Constant(x, 3), AttentionCore.Constant(rotary.Cos, 2));
        var rest = size - 2 * half;
        if (rest < 0)
            throw new UnsupportedGraphException($"heads of {size} elements and caches for {2 * half}");
        var turned = rest > 0 ? op.Slice(x, 3, 0, 2 * half) : x;
        var cos = op.Unsqueeze(Doubled(op, rotary.Cos, rotary.Interleaved), headAxis);
        var sin = op.Unsqueeze(Doubled(op, rotary.Sin, rotary.Interleaved), headAxis);
        var result = op.Add(op.Mul(turned, cos), op.Mul(Turned(op, turned, half, rotary.Interleaved), sin));
        return rest > 0 ? op.Concat(3, result, op.Slice(x, 3, 2 * half, size)) : result;
    }

    // [.., S, R/2] as [.., S, R]: each angle at both elements of its pair.
    private static Value Doubled(OpBuilder op, Value angles, bool interleaved)
    {
        if (!interleaved)
            return op.Concat(-1, angles, angles);
        var pairs = op.Unsqueeze(angles, -1);
        return op.Reshape(op.Concat(-1, pairs, pairs), 0, 0, 2 * AttentionCore.Constant(angles, 2));
    }

    // (a, b) becomes (−b, a) in every pair.
    private static Value Turned(OpBuilder op, Value x, long half, bool interleaved)
    {
        if (!interleaved)
            return op.Concat(3, op.Unary("Neg", op.Slice(x, 3, half, 2 * half)), op.Slice(x, 3, 0, half));
        var pairs = op.Reshape(x, 0, 0, 0, half, 2);
        return op.Reshape(op.Concat(4, op.Unary("Neg", op.Slice(pairs, 4, 1, 2)), op.Slice(pairs, 4, 0, 1)), 0, 0, 0, 2 * half);
    }
}
