using SorsaOrt.Ir;

namespace SorsaOrt.Autodiff.Tests;

/// <summary>Checks of rotary embeddings. ORT's CPU provider has no float64 kernel of the fused one.</summary>
internal static class RotaryChecks
{
    private const long Batch = 2, Heads = 3, Length = 4, Size = 6, Positions = 9;

    public static IEnumerable<RuleCheck> All =>
    [
        Check("halves as pairs", interleaved: false),
        Check("neighbours as pairs", interleaved: true),
    ];

    private static RuleCheck Check(string what, bool interleaved) => new("com.microsoft::RotaryEmbedding", what, t =>
    {
        var (x, places, cos, sin) = Inputs(t);
        return t.Op.Emit("RotaryEmbedding", "com.microsoft", 1, [x, places, cos, sin], NodeAttribute.Of("interleaved", interleaved ? 1 : 0))[0];
    })
    {
        Composed = t =>
        {
            var op = t.Op;
            var (x, places, cos, sin) = Inputs(t);
            // Pairs as a last axis of two: [B, H, S, D/2, 2].
            var pairs = interleaved ? op.Reshape(x, 0, 0, 0, Size / 2, 2) : op.Transpose(op.Reshape(x, 0, 0, 0, 2, Size / 2), 0, 1, 2, 4, 3);
            var (a, b) = (op.Slice(pairs, 4, 0, 1), op.Slice(pairs, 4, 1, 2));
            var (c, s) = (op.Unsqueeze(op.Gather(cos, places), 1, 4), op.Unsqueeze(op.Gather(sin, places), 1, 4));
            var turned = op.Concat(4, op.Sub(op.Mul(a, c), op.Mul(b, s)), op.Add(op.Mul(b, c), op.Mul(a, s)));
            return op.Reshape(interleaved ? turned : op.Transpose(turned, 0, 1, 2, 4, 3), 0, 0, 0, Size);
        },
    };

    // Tables that are no cosine and sine of one angle: the rule must not rely on c² + s² = 1, since they may be scaled.
    private static (Value X, Value Places, Value Cos, Value Sin) Inputs(TestGraph t) =>
    (
        t.Input("X", [Batch, Heads, Length, Size]),
        t.Integers("places", [Batch, Length], 0, 1, 2, 3, 5, 8, 6, 7),
        t.Constant("cos", Positions, Size / 2),
        t.Constant("sin", Positions, Size / 2)
    );
}
