using SorsaOrt.Ir;

namespace SorsaOrt.Autodiff.Rules;

/// <summary>Products Y = X·f(X) that exporters write out and that have a short closed form: SiLU and RMS normalisation.</summary>
/// <remarks>The whole gradient goes to X; f(X) gets none from this product. The general rule of Mul gives the same in more passes.</remarks>
internal static class SelfProductRules
{
    /// <summary>The gradients of a Mul node of that kind, or null when it is not one.</summary>
    public static IReadOnlyList<Value?>? Find(GradientContext g, Node mul, Value dY)
    {
        for (var i = 0; i < 2; i++)
        {
            var (x, f) = (mul.Inputs[i]!, mul.Inputs[1 - i]!);
            if (ReferenceEquals(x, f) || !g.Wants(x) || !g.Wants(f))
                continue;
            if (ReferenceEquals(SigmoidArgument(f), x))
                return Answer(i, Silu(g.Op, f, mul.Output, 1, dY));
            if (InverseRootMeanSquareAxes(f, x) is { } axes)
                return Answer(i, NormalizationRules.ThroughRms(g.Op, x, f, dY, axes));
        }
        return null;
    }

    /// <summary>Y = X·s with s = σ(α·X) gives dX = dY·(s + α·Y·(1 − s)).</summary>
    /// <remarks>With α = 1, and dY = dH·U from H = Y·U alone, as in a gated MLP: dX = dH·(H + s·(U − H)), a pass less.</remarks>
    public static Value Silu(OpBuilder op, Value s, Value y, double alpha, Value dY)
    {
        if (alpha == 1 && GatedBy(y, dY) is { } gated)
            return op.Mul(gated.dH, op.Add(gated.H, op.Mul(s, op.Sub(gated.U, gated.H))));
        var bend = op.Mul(y, ActivationRules.OneMinus(op, s));
        return op.Mul(dY, op.Add(s, alpha == 1 ? bend : op.Mul(bend, alpha)));
    }

    // H = y·U, the only reader of y that dY comes from: dY is dH·U, as the rule of Mul has it.
    private static (Value dH, Value U, Value H)? GatedBy(Value y, Value dY)
    {
        if (dY.Producer is not { Inputs: [{ } dH, { } u] } node || !node.Is("Mul") || !dH.HasShapeOf(y) || !u.HasShapeOf(y))
            return null;
        var product = y.Uses.Select(use => use.Node).FirstOrDefault(n => n.Is("Mul") && n.Inputs.Contains(u) && n.Inputs.Contains(y) && !ReferenceEquals(u, y));
        return product is null ? null : (dH, u, product.Output);
    }

    private static Value?[] Answer(int index, Value dX) => index == 0 ? [dX, GradientContext.Absorbed] : [GradientContext.Absorbed, dX];

    private static Value? SigmoidArgument(Value f) => f.Producer is { } node && node.Is("Sigmoid") ? node.Inputs[0] : null;

    // The axes of f = 1/√(mean(x²) + ε), written as Reciprocal, Div or Pow; null when f is something else.
    private static long[]? InverseRootMeanSquareAxes(Value f, Value x)
    {
        var sum = f.Producer switch
        {
            { OpType: "Reciprocal", Domain: "" } n => RootArgument(n.Inputs[0]!),
            { OpType: "Div", Domain: "" } n when GradientContext.Number(n.Inputs[0]) == 1 => RootArgument(n.Inputs[1]!),
            { OpType: "Pow", Domain: "" } n when GradientContext.Number(n.Inputs[1]) == -0.5 => n.Inputs[0],
            _ => null,
        };
        if (sum?.Producer is not { } add || !add.Is("Add"))
            return null;
        var mean = GradientContext.Number(add.Inputs[1]) is not null ? add.Inputs[0]! : GradientContext.Number(add.Inputs[0]) is not null ? add.Inputs[1]! : null;
        if (mean?.Producer is not { } reduce || !reduce.Is("ReduceMean") || reduce.Int("keepdims", 1) == 0 || !IsSquareOf(reduce.Inputs[0]!, x))
            return null;
        return ReductionRules.Axes(reduce) is { } axes && x.Shape is not null ? axes : null;
    }

    private static Value? RootArgument(Value root) => root.Producer is { } node && node.Is("Sqrt") ? node.Inputs[0] : null;

    private static bool IsSquareOf(Value square, Value x) => square.Producer is { } node
        && ((node.Is("Pow") && node.Inputs[0] == x && GradientContext.Number(node.Inputs[1]) == 2)
            || (node.Is("Mul") && node.Inputs[0] == x && node.Inputs[1] == x));
}
