using SorsaOrt.Ir;

namespace SorsaOrt.Autodiff.Tests;

/// <summary>Checks of elementwise arithmetic.</summary>
internal static class ElementwiseChecks
{
    private static readonly long[] Shape = [2, 3, 4];

    public static IEnumerable<RuleCheck> All =>
    [
        .. Binary("Add"), .. Binary("Sub"), .. Binary("Mul"), .. Binary("Div"), .. Binary("Max"), .. Binary("Min"),
        Unary("Neg"), Unary("Abs"), Unary("Exp"), Unary("Sin"), Unary("Cos"), Unary("Identity"),
        Unary("Sqrt", 0.3), Unary("Log", 0.3), Unary("Reciprocal", 0.3),
        new("Mul", "a value with itself", t => { var x = t.Input("X", Shape); return t.Op.Mul(x, x); }),
        new("Div", "a value by itself, twice", t => { var x = t.Input("X", Shape, 1, 2); return t.Op.Div(x, t.Op.Mul(x, x)); }),
        new("Sum", "three shapes", t => t.Op.Emit("Sum", [t.Input("A", [2, 1, 4]), t.Input("B", [3, 1]), t.Input("C", [4])])),
        new("Mean", "three shapes", t => t.Op.Emit("Mean", [t.Input("A", [2, 1, 4]), t.Input("B", [3, 1]), t.Input("C", [4])]))
        {
            Composed = t => t.Op.Div(t.Op.Add(t.Op.Add(t.Input("A", [2, 1, 4]), t.Input("B", [3, 1])), t.Input("C", [4])), t.Op.Scalar(3, t.Wanted[0])),
        },
        new("Max", "three inputs", t => t.Op.Emit("Max", [t.Input("A", [2, 1, 4]), t.Input("B", [3, 1]), t.Input("C", [4])])),
        .. Powers(),
        new("Pow", "exponent wanted, broadcast", t => t.Op.Emit("Pow", [t.Input("X", [2, 3], 0.5, 2), t.Input("P", [3], -2, 2)])),
        new("Pow", "exponent zero at zero", t => t.Op.Emit("Pow", [t.Input("X", [3], [0, 1, 2]), t.Frozen("P", [3], [0, 0, 0])])),
        new("Clip", "both bounds", t => t.Op.Emit("Clip", [t.Input("X", Shape), t.Op.Scalar(-0.4, t.Wanted[0]), t.Op.Scalar(0.5, t.Wanted[0])])),
        new("Clip", "upper bound", t => t.Op.Emit("Clip", [t.Input("X", Shape), null, t.Op.Scalar(0.5, t.Wanted[0])])),
        new("Where", "broadcast", t => t.Op.Where(Mask(t), t.Input("A", [2, 3, 1]), t.Input("B", [4]))),
        new("Where", "one branch frozen", t => t.Op.Where(Mask(t), t.Op.Scalar(double.NegativeInfinity, t.Input("A", [3, 4])), t.Op.Unary("Neg", t.Wanted[0]))
            is var y ? t.Op.Unary("Exp", y) : y),
        new("Cast", "to a wider type and back", t => t.Op.Cast(t.Op.Mul(t.Op.Cast(t.Input("X", Shape), ElementType.Float64), 3), t.Type))
        {
            Composed = t => t.Op.Mul(t.Input("X", Shape), 3),
        },
    ];

    private static RuleCheck Unary(string op, double low = -1) => new(op, "elementwise", t => t.Op.Unary(op, t.Input("X", Shape, low, 2)));

    private static IEnumerable<RuleCheck> Binary(string op)
    {
        (long[] A, long[] B)[] shapes = [([2, 3], [2, 3]), ([2, 3, 4], [3, 1]), ([4], [2, 3, 4]), ([2, 1, 4], [3, 1]), ([], [2, 3]), ([1, 1], [5])];
        return shapes.Select(s => new RuleCheck(op, $"[{string.Join(',', s.A)}] and [{string.Join(',', s.B)}]",
            t => t.Op.Emit(op, [t.Input("A", s.A, 0.5, 2), t.Input("B", s.B, 0.5, 2)])));
    }

    private static IEnumerable<RuleCheck> Powers() => ((double[])[0, 1, 2, 3, 0.5, -0.5, -1, 1.7]).Select(p =>
        new RuleCheck("Pow", FormattableString.Invariant($"exponent {p}"), t => t.Op.Emit("Pow", [t.Input("X", Shape, 0.5, 2), t.Op.Scalar(p, t.Wanted[0])])));

    private static Value Mask(TestGraph t) =>
        t.Op.Emit("Greater", [t.Integers("mask", [3, 4], 1, 0, 0, 1, 1, 1, 0, 0, 1, 0, 1, 0), t.Op.Constant(InMemoryTensor.Scalar(ElementType.Int64, 0))]);
}
