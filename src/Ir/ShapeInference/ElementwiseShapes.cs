namespace SorsaOrt.Ir;

/// <summary>Operators that work on each element alone, broadcasting; with the arithmetic of shapes on small integer contents.</summary>
internal static class ElementwiseShapes
{
    public static void AddTo(ShapeRuleTable table) => table
        .Add(Same, "Abs", "Acos", "Acosh", "Asin", "Asinh", "Atan", "Atanh", "Ceil", "Celu", "Clip", "Cos", "Cosh", "Elu", "Erf", "Exp",
            "Floor", "Gelu", "HardSigmoid", "HardSwish", "Hardmax", "LeakyRelu", "Log", "LogSoftmax", "LpNormalization", "Mish", "Reciprocal",
            "Relu", "Round", "Selu", "Sigmoid", "Sign", "Sin", "Sinh", "Softmax", "Softplus", "Softsign", "Sqrt", "Swish", "Tan", "Tanh",
            "ThresholdedRelu", "PRelu", "CumSum", "BitwiseNot", "Trilu", "InstanceNormalization", "GroupNormalization")
        .AddMicrosoft(Same, "QuickGelu", "Gelu", "FastGelu", "BiasGelu")
        .Add(Neg, "Neg")
        .Add(Identity, "Identity")
        .Add(Dropout, "Dropout")
        .Add(n => n.Set(0, ElementType.Bool, n.Shape(0)), "IsNaN", "IsInf")
        .Add(Not, "Not")
        .Add(n => Broadcast(n, (a, b) => a + b), "Add")
        .Add(n => Broadcast(n, (a, b) => a - b), "Sub")
        .Add(n => Broadcast(n, (a, b) => a * b), "Mul")
        .Add(n => Broadcast(n, Divide), "Div")
        .Add(n => Broadcast(n, Modulo), "Mod")
        .Add(n => Broadcast(n, null), "Pow", "BitShift", "BitwiseAnd", "BitwiseOr", "BitwiseXor", "Sum", "Mean")
        .Add(n => Broadcast(n, (a, b) => Decide(a, b, whenGreater: a, otherwise: b)), "Max")
        .Add(n => Broadcast(n, (a, b) => Decide(a, b, whenGreater: b, otherwise: a)), "Min")
        .Add(n => Compare(n, Equal), "Equal")
        .Add(n => Compare(n, (a, b) => Decide(a, b, 1, 0)), "Greater")
        .Add(n => Compare(n, (a, b) => Decide(b, a, 1, 0)), "Less")
        .Add(n => Compare(n, (a, b) => Decide(b, a, 0, 1)), "GreaterOrEqual")
        .Add(n => Compare(n, (a, b) => Decide(a, b, 0, 1)), "LessOrEqual")
        .Add(n => Compare(n, (a, b) => a * b), "And")
        .Add(n => Compare(n, (a, b) => a.Is(1) || b.Is(1) ? 1 : a + b), "Or")
        .Add(n => Compare(n, (a, b) => a.IsKnown && b.IsKnown ? Equal(a, b) is { IsKnown: true } e ? 1 - e : Dim.Unknown : Dim.Unknown), "Xor")
        .Add(Where, "Where")
        .Add(Cast, "Cast")
        .Add(n => n.Set(0, n.ElementType(1), n.Shape(0), n.Elements(0)), "CastLike")
        .Add(n => n.Set(0, n.ElementType(1), n.Shape(0)), "DequantizeLinear")
        .AddMicrosoft(n => n.Set(0, n.ElementType(1), n.Shape(0)), "DequantizeLinear")
        .Add(QuantizeLinear, "QuantizeLinear");

    private static void Same(NodeInference n) => n.Set(0, n.ElementType(0), n.Shape(0));

    private static void Identity(NodeInference n) => n.Set(0, n.ElementType(0), n.Shape(0), n.Elements(0));

    private static void Neg(NodeInference n) => n.Set(0, n.ElementType(0), n.Shape(0), n.Elements(0)?.Select(e => 0 - e));

    private static void Not(NodeInference n) => n.Set(0, ElementType.Bool, n.Shape(0), n.Elements(0)?.Select(e => 1 - e));

    private static void Dropout(NodeInference n)
    {
        n.Set(0, n.ElementType(0), n.Shape(0));
        n.Set(1, ElementType.Bool, n.Shape(0));
    }

    private static void Cast(NodeInference n)
    {
        var to = (ElementType)n.Node.Int("to", 0);
        var elements = n.Elements(0);
        if (to == ElementType.Bool && n.ElementType(0) != ElementType.Bool)
            elements = elements?.Select(e => Equal(e, 0) is { IsKnown: true } zero ? 1 - zero : Dim.Unknown).ToArray();
        n.Set(0, to, n.Shape(0), elements);
    }

    private static void QuantizeLinear(NodeInference n)
    {
        var declared = (ElementType)n.Node.Int("output_dtype", 0);
        n.Set(0, n.Has(2) ? n.ElementType(2) : declared != ElementType.Undefined ? declared : ElementType.UInt8, n.Shape(0));
    }

    private static void Where(NodeInference n)
    {
        IEnumerable<Dim>? elements = null;
        if (n.ElementsOrUnknowns(0) is { } condition && n.ElementsOrUnknowns(1) is { } yes && n.ElementsOrUnknowns(2) is { } no)
        {
            var count = Math.Max(condition.Count, Math.Max(yes.Count, no.Count));
            if (!new[] { condition, yes, no }.Any(p => p.Count != 1 && p.Count != count))
            {
                elements = Enumerable.Range(0, count).Select(i =>
                {
                    var (c, a, b) = (At(condition, i), At(yes, i), At(no, i));
                    return c.Is(1) || Dim.Same(a, b) ? a : c.Is(0) ? b : Dim.Unknown;
                });
            }
        }
        n.Set(0, n.ElementType(1), NodeInference.Broadcast(n.Shape(0), n.Shape(1), n.Shape(2)), elements);
    }

    private static void Broadcast(NodeInference n, Func<Dim, Dim, Dim>? combine) => Combine(n, n.ElementType(0), combine);

    private static void Compare(NodeInference n, Func<Dim, Dim, Dim> combine) => Combine(n, ElementType.Bool, combine);

    private static void Combine(NodeInference n, ElementType type, Func<Dim, Dim, Dim>? combine)
    {
        var count = n.Node.Inputs.Count;
        var shape = NodeInference.Broadcast([.. Enumerable.Range(0, count).Select(n.Shape)]);
        var elements = combine is null ? null : n.ElementsOrUnknowns(0);
        for (var i = 1; i < count && elements is not null; i++)
            elements = n.ElementsOrUnknowns(i) is { } next ? Zip(elements, next, combine!) : null;
        n.Set(0, type, shape, elements);
    }

    private static Dim[]? Zip(IReadOnlyList<Dim> a, IReadOnlyList<Dim> b, Func<Dim, Dim, Dim> combine)
    {
        if (a.Count != b.Count && a.Count != 1 && b.Count != 1)
            return null;
        return [.. Enumerable.Range(0, a.Count == 1 ? b.Count : a.Count).Select(i => combine(At(a, i), At(b, i)))];
    }

    private static Dim At(IReadOnlyList<Dim> elements, int i) => elements[elements.Count == 1 ? 0 : i];

    /// <summary>Integer division, rounding toward zero as ONNX Runtime does; symbolic only where nothing is left over.</summary>
    private static Dim Divide(Dim a, Dim b)
    {
        if (a.Value is { } x && b.Value is { } y)
            return y == 0 ? Dim.Unknown : x / y;
        return a.TryDivide(b, out var quotient) ? quotient : Dim.Unknown;
    }

    private static Dim Modulo(Dim a, Dim b)
    {
        if (a.Value is { } x && b.Value is { } y)
            return y == 0 || x < 0 || y < 0 ? Dim.Unknown : x % y;
        return a.TryDivide(b, out _) ? 0 : Dim.Unknown;
    }

    private static Dim Equal(Dim a, Dim b)
    {
        if (!a.IsKnown || !b.IsKnown)
            return Dim.Unknown;
        return Dim.Same(a, b) ? 1 : (a - b).IsPositive || (b - a).IsPositive ? 0 : Dim.Unknown;
    }

    /// <summary>One answer where a &gt; b for every value of the symbols, the other where a ≤ b for every value, else unknown.</summary>
    private static Dim Decide(Dim a, Dim b, Dim whenGreater, Dim otherwise)
    {
        if (!a.IsKnown || !b.IsKnown)
            return Dim.Unknown;
        return (a - b).IsPositive ? whenGreater : (b - a + 1).IsPositive ? otherwise : Dim.Unknown;
    }
}
