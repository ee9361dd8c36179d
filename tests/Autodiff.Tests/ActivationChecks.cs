using SorsaOrt.Ir;

namespace SorsaOrt.Autodiff.Tests;

/// <summary>Checks of activation functions. ORT's CPU provider has no float64 kernel of Erf and of the fused ones.</summary>
internal static class ActivationChecks
{
    private const string Microsoft = "com.microsoft";
    private static readonly long[] Shape = [3, 7];

    public static IEnumerable<RuleCheck> All =>
    [
        new("Relu", "elementwise", t => t.Op.Unary("Relu", X(t))),
        new("Tanh", "elementwise", t => t.Op.Unary("Tanh", X(t))),
        new("Sigmoid", "elementwise", t => t.Op.Unary("Sigmoid", X(t))),
        new("Softplus", "elementwise", t => t.Op.Unary("Softplus", X(t)))
        {
            Composed = t => t.Op.Unary("Log", t.Op.Add(t.Op.Unary("Exp", X(t)), 1)),
        },
        // erf by its series up to x⁴¹, exact to float32 for |x| ≤ 2.
        new("Erf", "against its series", t => t.Op.Unary("Erf", t.Input("X", Shape, -2, 2))) { Composed = ErfSeries },
        new("Gelu", "exact", t => t.Op.Unary("Gelu", X(t))) { Composed = ErfGelu },
        new("Gelu", "tanh", t => t.Op.Emit("Gelu", [X(t)], NodeAttribute.Of("approximate", "tanh"))) { Composed = t => TanhGelu(t, X(t)) },
        new("com.microsoft::Gelu", "exact", t => t.Op.Emit("Gelu", Microsoft, 1, [X(t)])[0]) { Composed = ErfGelu },
        new("com.microsoft::FastGelu", "without bias", t => t.Op.Emit("FastGelu", Microsoft, 1, [X(t)])[0]) { Composed = t => TanhGelu(t, X(t)) },
        new("com.microsoft::FastGelu", "with bias", t => t.Op.Emit("FastGelu", Microsoft, 1, [X(t), t.Input("bias", [7])])[0])
        {
            Composed = t => TanhGelu(t, t.Op.Add(X(t), t.Input("bias", [7]))),
        },
        .. QuickGelu(1), .. QuickGelu(1.702f),
        // SiLU as exporters write it, and forms that only look like it.
        new("Mul", "SiLU", t => t.Op.Mul(X(t), t.Op.Unary("Sigmoid", t.Wanted[0]))),
        new("Mul", "SiLU that gates", t => t.Op.Mul(t.Op.Mul(X(t), t.Op.Unary("Sigmoid", t.Wanted[0])), t.Input("U", Shape))),
        new("Mul", "SiLU that gates, turned round", t => t.Op.Mul(t.Input("U", Shape), t.Op.Mul(X(t), t.Op.Unary("Sigmoid", t.Wanted[1])))),
        new("Mul", "SiLU that gates and has another reader", t =>
        {
            var y = t.Op.Mul(X(t), t.Op.Unary("Sigmoid", t.Wanted[0]));
            return t.Op.Add(t.Op.Mul(y, t.Input("U", Shape)), t.Op.Unary("Sin", y));
        }),
        new("Mul", "SiLU that gates along an axis", t => t.Op.Mul(t.Op.Mul(X(t), t.Op.Unary("Sigmoid", t.Wanted[0])), t.Input("U", [7]))),
        new("Mul", "SiLU turned round", t => t.Op.Mul(t.Op.Unary("Sigmoid", X(t)), t.Wanted[0])),
        new("Mul", "SiLU whose sigmoid has another reader", t =>
        {
            var s = t.Op.Unary("Sigmoid", X(t));
            return t.Op.Add(t.Op.Mul(t.Wanted[0], s), t.Op.Unary("Exp", s));
        }),
        new("Mul", "sigmoid of another value", t => t.Op.Mul(X(t), t.Op.Unary("Sigmoid", t.Input("Z", Shape)))),
    ];

    private static Value X(TestGraph t) => t.Input("X", Shape, -3, 3);

    private static IEnumerable<RuleCheck> QuickGelu(float alpha) =>
    [
        new("com.microsoft::QuickGelu", FormattableString.Invariant($"alpha {alpha}"), t => t.Op.Emit("QuickGelu", Microsoft, 1, [X(t)], NodeAttribute.Of("alpha", alpha))[0])
        {
            Composed = t => { var x = X(t); return t.Op.Mul(x, t.Op.Unary("Sigmoid", t.Op.Mul(x, alpha))); },
        },
    ];

    private static Value ErfSeries(TestGraph t)
    {
        var x = t.Op.Cast(t.Input("X", Shape, -2, 2), ElementType.Float64);
        var (square, power, sum, factorial) = (t.Op.Mul(x, x), x, x, 1.0);
        for (var n = 1; n <= 20; n++)
        {
            power = t.Op.Mul(power, square);
            factorial *= -n;
            sum = t.Op.Add(sum, t.Op.Mul(power, 1 / (factorial * (2 * n + 1))));
        }
        return t.Op.Cast(t.Op.Mul(sum, 2 / Math.Sqrt(Math.PI)), t.Type);
    }

    private static Value ErfGelu(TestGraph t)
    {
        var x = X(t);
        return t.Op.Mul(t.Op.Mul(x, t.Op.Add(t.Op.Unary("Erf", t.Op.Mul(x, Math.Sqrt(0.5))), 1)), 0.5);
    }

    private static Value TanhGelu(TestGraph t, Value x)
    {
        var u = t.Op.Mul(t.Op.Add(x, t.Op.Mul(t.Op.Mul(t.Op.Mul(x, x), x), 0.044715)), Math.Sqrt(2 / Math.PI));
        return t.Op.Mul(t.Op.Mul(x, t.Op.Add(t.Op.Unary("Tanh", u), 1)), 0.5);
    }
}
