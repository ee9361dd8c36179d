using SorsaOrt.Ir;

namespace SorsaOrt.Autodiff.Rules;

/// <summary>Softmax and its logarithm, in closed form.</summary>
internal static class SoftmaxRules
{
    public static void AddTo(GradientTable table) => table.Add("Softmax", Softmax).Add("LogSoftmax", LogSoftmax);

    /// <summary>Y = softmax X gives dX = Y·(dY − Σ dY·Y).</summary>
    /// <remarks>
    /// A row that is masked whole gives NaN. Exporters hide it behind Where(IsNaN(Y), 0, Y), whose result then stands for Y: it is 0 in such a row, and so
    /// is dX, whatever dY was before that Where's gradient put zeros there; so which elements were NaN need not be kept. In attention the sum is taken of the context: <see cref="SumOverContext"/>.
    /// Where all that reads Y is a Cast to a narrower type, Y is widened from that again, so that of the two the narrow one is kept.
    /// </remarks>
    private static IReadOnlyList<Value?> Softmax(GradientContext g, Node node, Value dY)
    {
        var (op, y) = (g.Op, WithoutNaN(node.Output));
        dY = BeforeCleaning(y, dY);
        var axis = g.Axis(node, y, -1);
        var (read, dRead) = (y, dY);
        if (BeforeWidening(dY) is { } narrow && CastOf(y, narrow.ElementType) is { } cast)
        {
            (read, dRead) = (cast, narrow);
            y = op.Cast(op.Behind(read, narrow), y.ElementType);
        }
        var sum = axis == g.Rank(y) - 1 ? SumOverContext(g, read, dRead, y) : null;
        return [op.Mul(y, op.Sub(dY, sum ?? op.ReduceSum(op.Mul(dY, y), keepDims: true, axis)))];
    }

    /// <summary>Σⱼ dYᵢⱼ·Yᵢⱼ = Σ dOᵢ·Oᵢ where O = Y·V and dY = dO·Vᵀ: a sum over the width of a head instead of all keys, in the type and rows of <paramref name="like"/>; null where dY comes from elsewhere.</summary>
    /// <remarks>Taken as late in the forward pass as rows stay whole, after heads have moved behind tokens: that value is kept for the output projection anyway.</remarks>
    private static Value? SumOverContext(GradientContext g, Value y, Value dY, Value like)
    {
        var op = g.Op;
        if (BeforeReshapes(dY).Producer is not { } back || !back.Is("MatMul") || back.Inputs[1]!.Producer is not { } turn || !turn.Is("Transpose") || !SwapsLastAxes(turn)
            || Product(y, turn.Inputs[0]!) is not { } context || !context.HasShapeOf(back.Inputs[0]!))
            return null;
        var (o, dO, turned) = (context, back.Inputs[0]!, (long[]?)null);
        while (turned is null && o.Uses.Where(u => !u.Node.Is("Shape")).ToArray() is [{ InputIndex: 0, Node: { } next }] && dO.Producer is { } node && node.OpType == next.OpType && next.Output.HasShapeOf(node.Inputs[0]!))
        {
            if (KeepsRows(next))
                (o, dO) = (next.Output, node.Inputs[0]!);
            else if (next.Is("Transpose") && next.Ints("perm") is { } forward && node.Ints("perm") is { } inverse && forward[^1] == forward.Count - 1 && inverse.Select(i => forward[(int)i]).SequenceEqual(Longs(forward.Count)))
                (o, dO, turned) = (next.Output, node.Inputs[0]!, [.. inverse]);
            else
                break;
        }
        var wide = Wide(op, o, like.ElementType);
        var sum = op.ReduceSum(op.Mul(Wide(op, dO, like.ElementType), wide), keepDims: true, g.Rank(o) - 1);
        return g.RowsLike(turned is null ? sum : op.Transpose(sum, turned), like);
    }

    /// <summary>Y = log softmax X gives dX = dY − exp(Y)·Σ dY.</summary>
    /// <remarks>Where dY holds one element d of each row, scattered into zeros (a cross entropy), d is the sum: dX is exp(Y) with 1 taken off at that place, times −d.</remarks>
    private static IReadOnlyList<Value?> LogSoftmax(GradientContext g, Node node, Value dY)
    {
        var (op, axis) = (g.Op, g.Axis(node, node.Output, -1));
        var softmax = op.Unary("Exp", node.Output);
        if (IndexingRules.OnePerRow(dY, axis) is not { } scatter)
            return [op.Sub(dY, op.Mul(softmax, op.ReduceSum(dY, keepDims: true, axis)))];
        var (indices, d) = (scatter.Inputs[1]!, scatter.Inputs[2]!);
        return [op.Mul(IndexingRules.AddOnePerRow(op, softmax, indices, op.Scalar(-1, softmax), axis), op.Unary("Neg", d))];
    }

    // The product of y, or of its rows in another shape, with v.
    private static Value? Product(Value y, Value v) => y.Uses.Where(u => u.InputIndex == 0)
        .Select(u => u.Node.Is("MatMul") && u.Node.Inputs[1] == v ? u.Node.Output : KeepsRows(u.Node) ? Product(u.Node.Output, v) : null).FirstOrDefault(o => o is not null);

    // The gradient of y before zeros were put where y hides a NaN: y is 0 there, so that their product is the same.
    private static Value BeforeCleaning(Value y, Value dY) => y.Producer is { } cleaning && cleaning.Is("Where") && dY.Producer is { } zeroing && zeroing.Is("Where")
        && zeroing.Inputs[0] == cleaning.Inputs[0] && GradientContext.Number(zeroing.Inputs[1]) == 0 ? zeroing.Inputs[2]! : dY;

    // x in that type: as it was before a Cast narrowed it, or as a Cast has it already, or cast.
    private static Value Wide(OpBuilder op, Value x, ElementType type) => x.Producer is { } narrowing && narrowing.Is("Cast") && narrowing.Inputs[0]!.ElementType == type ? narrowing.Inputs[0]!
        : CastOf(x, type) ?? op.Cast(x, type);

    private static Value? CastOf(Value x, ElementType type) => x.Uses.Select(u => u.Node).FirstOrDefault(n => n.Is("Cast") && n.Output.ElementType == type)?.Output;

    // What a Cast to a wider type reads; null where x is none.
    private static Value? BeforeWidening(Value x) => x.Producer is { } cast && cast.Is("Cast") && cast.Inputs[0] is { } from && from.ElementType.IsFloat() && from.ElementType.BitSize() < x.ElementType.BitSize() ? from : null;

    private static Value BeforeReshapes(Value x) => x.Producer is { } node && KeepsRows(node) ? BeforeReshapes(node.Inputs[0]!) : x;

    private static bool KeepsRows(Node node) => node.Is("Reshape") && node.Inputs[0]!.Shape is { Count: > 0 } from && node.Output.Shape is { Count: > 0 } to && Dim.Same(from[^1], to[^1]);

    private static bool SwapsLastAxes(Node transpose) => transpose.Ints("perm") is { Count: > 1 } perm
        && perm[^1] == perm.Count - 2 && perm[^2] == perm.Count - 1 && perm.SkipLast(2).SequenceEqual(Longs(perm.Count - 2));

    private static IEnumerable<long> Longs(int count) => Enumerable.Range(0, count).Select(i => (long)i);

    // The reader Where(IsNaN(y), 0, y) of y, if there is one, else y.
    private static Value WithoutNaN(Value y) => y.Uses.Where(u => u.Node.Is("IsNaN")).SelectMany(u => u.Node.Output.Uses)
        .Where(u => u is { InputIndex: 0, Node: { OpType: "Where", Domain: "" } where }
            && ReferenceEquals(where.Inputs[2], y) && GradientContext.Number(where.Inputs[1]) == 0)
        .Select(u => u.Node.Output).FirstOrDefault(y);
}
