using SorsaOrt.Ir;

namespace SorsaOrt.Autodiff.Rules;

/// <summary>Elementwise arithmetic. Gradients are returned in the broadcast shape; <see cref="ReverseMode"/> sums them.</summary>
internal static class ElementwiseRules
{
    public static void AddTo(GradientTable table)
    {
        table.Add("Add", (_, _, dY) => [dY, dY])
            .Add("Sub", (g, node, dY) => [dY, g.Wants(node.Inputs[1]) ? g.Op.Unary("Neg", dY) : null])
            .Add("Mul", Mul)
            .Add("Div", Div)
            .Add("Pow", Pow)
            .Add("Sum", (_, node, dY) => [.. node.Inputs.Select(_ => dY)])
            .Add("Mean", (g, node, dY) => [.. Enumerable.Repeat(g.Op.Mul(dY, 1.0 / node.Inputs.Count), node.Inputs.Count)])
            .Add("Max", Extremum)
            .Add("Min", Extremum)
            .Add("Clip", Clip)
            .Add("Where", Where)
            .Add("Identity", (_, _, dY) => [dY])
            .Add("Cast", (g, node, dY) => [g.Op.Cast(dY, node.Inputs[0]!.ElementType)])
            .AddUnary("Neg", (op, _, _, dY) => op.Unary("Neg", dY))
            .AddUnary("Abs", (op, x, _, dY) => op.Mul(dY, op.Unary("Sign", x)))
            .AddUnary("Sqrt", (op, _, y, dY) => op.Div(op.Mul(dY, 0.5), y))
            .AddUnary("Reciprocal", (op, _, y, dY) => op.Unary("Neg", op.Mul(dY, op.Mul(y, y))))
            .AddUnary("Exp", (op, _, y, dY) => op.Mul(dY, y))
            .AddUnary("Log", (op, x, _, dY) => op.Div(dY, x))
            .AddUnary("Sin", (op, x, _, dY) => op.Mul(dY, op.Unary("Cos", x)))
            .AddUnary("Cos", (op, x, _, dY) => op.Mul(op.Unary("Neg", dY), op.Unary("Sin", x)));
    }

    /// <summary>Y = A·B gives dA = dY·B and dB = dY·A; x times a function of x has shorter forms in <see cref="SelfProductRules"/>.</summary>
    private static IReadOnlyList<Value?> Mul(GradientContext g, Node node, Value dY)
    {
        var (a, b) = (node.Inputs[0]!, node.Inputs[1]!);
        return SelfProductRules.Find(g, node, dY)
            ?? [g.Wants(a) ? g.Op.Mul(dY, b) : null, g.Wants(b) ? g.Op.Mul(dY, a) : null];
    }

    /// <summary>Y = A/B gives dA = dY/B and dB = −dY·Y/B.</summary>
    private static IReadOnlyList<Value?> Div(GradientContext g, Node node, Value dY)
    {
        var dA = g.Op.Div(dY, node.Inputs[1]!);
        return [dA, g.Wants(node.Inputs[1]) ? g.Op.Unary("Neg", g.Op.Mul(dA, node.Output)) : null];
    }

    /// <summary>Y = Xᴾ gives dX = dY·P·Xᴾ⁻¹ and dP = dY·Y·log X, which is defined as 0 where X is 0.</summary>
    private static IReadOnlyList<Value?> Pow(GradientContext g, Node node, Value dY)
    {
        var (op, x, p) = (g.Op, node.Inputs[0]!, node.Inputs[1]!);
        if (GradientContext.Number(p) is { } power && !g.Wants(p))
            return [ConstantPower(op, x, node.Output, power, dY)];
        var exponent = op.Cast(p, x.ElementType);
        var zero = op.Scalar(0, x);
        // P·Xᴾ⁻¹ is 0 for P = 0, also at X = 0, where the power is infinite.
        var slope = op.Where(op.Emit("Equal", [exponent, zero]), zero, op.Mul(exponent, op.Emit("Pow", [x, op.Add(exponent, -1)])));
        return
        [
            g.Wants(x) ? op.Mul(dY, slope) : null,
            g.Wants(p) ? op.Cast(op.Mul(dY, op.Where(op.Emit("Equal", [x, zero]), zero, op.Mul(node.Output, op.Unary("Log", x)))), p.ElementType) : null,
        ];
    }

    private static Value ConstantPower(OpBuilder op, Value x, Value y, double power, Value dY) => power switch
    {
        0 => op.Mul(dY, 0),
        1 => dY,
        2 => op.Mul(dY, op.Mul(x, 2)),
        0.5 => op.Div(op.Mul(dY, 0.5), y),
        -0.5 => op.Mul(dY, op.Mul(op.Div(y, x), -0.5)),
        -1 => op.Unary("Neg", op.Mul(dY, op.Mul(y, y))),
        _ => op.Mul(dY, op.Mul(op.Emit("Pow", [x, op.Scalar(power - 1, x)]), power)),
    };

    /// <summary>Y = max or min of the inputs: dY goes to the input that is Y, in equal parts where several are.</summary>
    private static IReadOnlyList<Value?> Extremum(GradientContext g, Node node, Value dY)
    {
        var op = g.Op;
        if (node.Inputs.Count == 1)
            return [dY];
        var hits = node.Inputs.Select(x => op.Cast(op.Emit("Equal", [x, node.Output]), dY.ElementType)).ToArray();
        var share = op.Div(dY, hits.Aggregate(op.Add));
        return [.. node.Inputs.Select((x, i) => g.Wants(x) ? op.Mul(hits[i], share) : null)];
    }

    /// <summary>Y = min(max(X, low), high) gives dX = dY where low ≤ X ≤ high, else 0.</summary>
    private static IReadOnlyList<Value?> Clip(GradientContext g, Node node, Value dY)
    {
        var (op, x) = (g.Op, node.Inputs[0]!);
        var zero = op.Scalar(0, x);
        if (node.InputOrNull(1) is { } low)
            dY = op.Where(op.Emit("Less", [x, low]), zero, dY);
        if (node.InputOrNull(2) is { } high)
            dY = op.Where(op.Emit("Greater", [x, high]), zero, dY);
        return [dY];
    }

    /// <summary>Y = C ? A : B gives dA = C ? dY : 0 and dB = C ? 0 : dY.</summary>
    private static IReadOnlyList<Value?> Where(GradientContext g, Node node, Value dY)
    {
        var (op, condition) = (g.Op, node.Inputs[0]!);
        var zero = op.Scalar(0, dY);
        return
        [
            null,
            g.Wants(node.Inputs[1]) ? op.Where(condition, dY, zero) : null,
            g.Wants(node.Inputs[2]) ? op.Where(condition, zero, dY) : null,
        ];
    }
}
