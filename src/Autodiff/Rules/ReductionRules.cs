using SorsaOrt.Ir;

namespace SorsaOrt.Autodiff.Rules;

/// <summary>Reductions over axes. dY and Y are first given their reduced axes back with length 1 ("kept"), so that they broadcast against X.</summary>
internal static class ReductionRules
{
    private delegate Value Rule(GradientContext g, Value x, Value y, Value dY, Node node);

    public static void AddTo(GradientTable table)
    {
        Add(table, "ReduceSum", (g, x, _, dY, _) => g.ExpandLike(dY, x));
        Add(table, "ReduceMean", (g, x, y, dY, _) => g.ExpandLike(Divided(g, dY, x, y), x));
        Add(table, "ReduceMax", (g, x, y, dY, node) => Extremum(g, x, y, dY, node));
        Add(table, "ReduceMin", (g, x, y, dY, node) => Extremum(g, x, y, dY, node));
        Add(table, "ReduceSumSquare", (g, x, _, dY, _) => g.Op.Mul(x, g.Op.Mul(dY, 2)));
        Add(table, "ReduceL1", (g, x, _, dY, _) => g.Op.Mul(g.Op.Unary("Sign", x), dY));
        Add(table, "ReduceL2", L2);
        Add(table, "ReduceLogSum", (g, x, y, dY, _) => g.ExpandLike(g.Op.Mul(dY, g.Op.Unary("Exp", g.Op.Unary("Neg", y))), x));
        Add(table, "ReduceLogSumExp", LogSumExp);
        table.Add("CumSum", CumSum);
    }

    /// <summary>The axes a reduction reduces, counted from the front; null where they are not known.</summary>
    public static long[]? Axes(Node node)
    {
        if (node.Inputs[0]!.Shape is not { Count: var rank })
            return null;
        var given = node.Ints("axes") ?? (node.InputOrNull(1) is { } input ? GradientContext.Integers(input) : []);
        if (given is null)
            return null;
        return given.Count > 0 ? [.. given.Select(a => GradientContext.FromFront(a, rank)).Order()]
            : node.Int("noop_with_empty_axes", 0) != 0 ? [] : [.. Enumerable.Range(0, rank)];
    }

    private static void Add(GradientTable table, string opType, Rule rule) => table.Add(opType, (g, node, dY) =>
    {
        var (x, axes) = (node.Inputs[0]!, KnownAxes(g, node));
        Value Kept(Value v) => node.Int("keepdims", 1) != 0 || axes.Length == 0 ? v
            : axes.Length == g.Rank(x) ? v : g.Op.Unsqueeze(v, axes);
        return [rule(g, x, Kept(node.Output), Kept(dY), node)];
    });

    private static long[] KnownAxes(GradientContext g, Node node) =>
        Axes(node) ?? throw g.Refusal(node, "the axes are not constant", "export with constant axes");

    // dY / (elements of X per element of Y).
    private static Value Divided(GradientContext g, Value dY, Value x, Value y)
    {
        if (x.Type?.StaticShape is { } all && y.Type?.StaticShape is { } kept)
            return g.Op.Mul(dY, (double)kept.Aggregate(1L, (p, n) => p * n) / all.Aggregate(1L, (p, n) => p * n));
        var reduced = x.Shape!.Where((d, i) => y.Shape!.Count != x.Shape!.Count || (y.Shape![i].Is(1) && !d.Is(1))).ToArray();
        if (reduced.All(d => d.Value.HasValue))
            return g.Op.Mul(dY, 1.0 / reduced.Aggregate(1L, (p, d) => p * d.Value!.Value));
        var count = g.Op.Div(g.Op.Unary("Size", x), g.Op.Unary("Size", y));
        return g.Op.Div(dY, g.Op.Cast(count, dY.ElementType));
    }

    /// <summary>Y = max or min of X: dY goes to the elements that are Y, in equal parts where several are.</summary>
    private static Value Extremum(GradientContext g, Value x, Value y, Value dY, Node node)
    {
        var hits = g.Op.Cast(g.Op.Emit("Equal", [x, y]), dY.ElementType);
        return g.Op.Mul(hits, g.Op.Div(dY, g.Op.ReduceSum(hits, keepDims: true, KnownAxes(g, node))));
    }

    /// <summary>Y = ‖X‖ gives dX = X·dY/Y, defined as 0 where Y is 0, as torch.norm does.</summary>
    private static Value L2(GradientContext g, Value x, Value y, Value dY, Node node)
    {
        var zero = g.Op.Scalar(0, y);
        return g.Op.Mul(x, g.Op.Where(g.Op.Emit("Equal", [y, zero]), zero, g.Op.Div(dY, y)));
    }

    /// <summary>Y = log Σ exp X gives dX = dY·exp(X − Y), which over one axis is dY·softmax X.</summary>
    private static Value LogSumExp(GradientContext g, Value x, Value y, Value dY, Node node) => KnownAxes(g, node) is [var axis]
        ? g.Op.Mul(g.Op.Softmax(x, axis), dY)
        : g.Op.Mul(g.Op.Unary("Exp", g.Op.Sub(x, y)), dY);

    /// <summary>Y = running sum of X gives dX = running sum of dY from the other end.</summary>
    private static IReadOnlyList<Value?> CumSum(GradientContext g, Node node, Value dY) =>
    [
        g.Op.Emit("CumSum", [dY, node.Inputs[1]], NodeAttribute.Of("exclusive", node.Int("exclusive", 0)), NodeAttribute.Of("reverse", 1 - node.Int("reverse", 0))),
    ];
}
