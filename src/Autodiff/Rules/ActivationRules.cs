using SorsaOrt.Ir;

namespace SorsaOrt.Autodiff.Rules;

/// <summary>Activation functions of one input.</summary>
internal static class ActivationRules
{
    private const string Microsoft = "com.microsoft";

    public static void AddTo(GradientTable table) => table
        .AddUnary("Relu", (op, x, _, dY) => op.Where(op.Emit("Greater", [x, op.Scalar(0, x)]), dY, op.Scalar(0, x)))
        .AddUnary("Tanh", (op, _, y, dY) => op.Mul(dY, OneMinus(op, op.Mul(y, y))))
        .AddUnary("Sigmoid", (op, _, y, dY) => op.Mul(dY, op.Mul(y, OneMinus(op, y))))
        .AddUnary("Softplus", (op, x, _, dY) => op.Mul(dY, op.Unary("Sigmoid", x)))
        .AddUnary("Erf", (op, x, _, dY) => op.Mul(dY, op.Mul(op.Unary("Exp", op.Unary("Neg", op.Mul(x, x))), 2 / Math.Sqrt(Math.PI))))
        .Add("Gelu", (g, node, dY) => [node.Text("approximate", "none") == "tanh" ? TanhGelu(g.Op, node.Inputs[0]!, dY) : Gelu(g.Op, node.Inputs[0]!, dY)])
        .AddUnary("Gelu", (op, x, _, dY) => Gelu(op, x, dY), Microsoft)
        .Add("FastGelu", FastGelu, Microsoft)
        .Add("QuickGelu", QuickGelu, Microsoft);

    /// <summary>Y = X·Φ(X), Φ the normal distribution, gives dX = dY·(Φ(X) + X·φ(X)), φ(X) = exp(−X²/2)/√(2π).</summary>
    private static Value Gelu(OpBuilder op, Value x, Value dY)
    {
        var distribution = op.Mul(op.Add(op.Unary("Erf", op.Mul(x, Math.Sqrt(0.5))), 1), 0.5);
        var density = op.Mul(op.Unary("Exp", op.Mul(op.Mul(x, x), -0.5)), 1 / Math.Sqrt(2 * Math.PI));
        return op.Mul(dY, op.Add(distribution, op.Mul(x, density)));
    }

    /// <summary>Y = X·(1 + t)/2 with t = tanh u, u = √(2/π)·(X + 0.044715·X³), gives dX = dY·((1 + t) + X·(1 − t²)·du/dX)/2.</summary>
    private static Value TanhGelu(OpBuilder op, Value x, Value dY)
    {
        const double Cubic = 0.044715;
        var root = Math.Sqrt(2 / Math.PI);
        var square = op.Mul(x, x);
        var t = op.Unary("Tanh", op.Mul(x, op.Add(op.Mul(square, root * Cubic), root)));
        var slope = op.Add(op.Mul(square, 3 * root * Cubic), root);
        var sum = op.Add(op.Add(t, 1), op.Mul(op.Mul(x, slope), OneMinus(op, op.Mul(t, t))));
        return op.Mul(dY, op.Mul(sum, 0.5));
    }

    /// <summary>Y = TanhGelu(X + bias): both inputs have the gradient of the sum.</summary>
    private static IReadOnlyList<Value?> FastGelu(GradientContext g, Node node, Value dY)
    {
        var (x, bias) = (node.Inputs[0]!, node.InputOrNull(1));
        var dX = TanhGelu(g.Op, bias is null ? x : g.Op.Add(x, bias), dY);
        return [dX, dX];
    }

    /// <summary>Y = X·s with s = σ(α·X) gives dX = dY·(s + α·Y·(1 − s)).</summary>
    private static IReadOnlyList<Value?> QuickGelu(GradientContext g, Node node, Value dY)
    {
        var (x, alpha) = (node.Inputs[0]!, node.Float("alpha", 1.702f));
        var s = g.Op.Unary("Sigmoid", alpha == 1 ? x : g.Op.Mul(x, alpha));
        return [SelfProductRules.Silu(g.Op, s, node.Output, alpha, dY)];
    }

    /// <summary>1 − x.</summary>
    public static Value OneMinus(OpBuilder op, Value x) => op.Sub(op.Scalar(1, x), x);
}
