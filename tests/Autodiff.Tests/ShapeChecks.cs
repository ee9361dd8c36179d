using SorsaOrt.Ir;

namespace SorsaOrt.Autodiff.Tests;

/// <summary>Checks of operators that only move elements.</summary>
internal static class ShapeChecks
{
    public static IEnumerable<RuleCheck> All =>
    [
        new("Reshape", "to constants", t => t.Op.Reshape(X(t), 6, 4)),
        new("Reshape", "keeping and computing", t => t.Op.Reshape(X(t), 0, -1)),
        new("Reshape", "splitting heads", t => t.Op.Reshape(X(t), 0, 0, 2, 2)),
        new("Flatten", "axis 1", t => t.Op.Emit("Flatten", [X(t)], NodeAttribute.Of("axis", 1))),
        new("Squeeze", "one axis", t => t.Op.Squeeze(t.Input("X", [2, 1, 3, 1]), 1)),
        new("Squeeze", "all axes", t => t.Op.Emit("Squeeze", [t.Input("X", [2, 1, 3, 1])])) { Symbolic = false },
        new("Unsqueeze", "two axes", t => t.Op.Unsqueeze(X(t), 0, -1)),
        new("Transpose", "a cycle", t => t.Op.Transpose(X(t), 2, 0, 1)),
        new("Transpose", "reversed", t => t.Op.Emit("Transpose", [X(t)])),
        new("Expand", "heads", t => t.Op.Expand(t.Input("X", [2, 1, 4]), t.Op.Integers(2, 3, 4))),
        new("Expand", "new axes", t => t.Op.Expand(t.Input("X", [3, 1]), t.Op.Integers(2, 1, 4))),
        new("Concat", "three parts", t => t.Op.Concat(1, t.Input("A", [2, 3]), t.Input("B", [2, 1]), t.Input("C", [2, 4]))),
        new("Concat", "one twice, from the end", t => { var a = t.Input("A", [2, 3]); return t.Op.Concat(-1, a, t.Op.Unary("Neg", a)); }),
        new("Concat", "one part frozen", t => t.Op.Concat(0, t.Frozen("F", [1, 2], [7, 8]), t.Input("A", [3, 2]))),
        new("Split", "all parts", t => { var p = t.Op.Split(X(t), 2, 1, 3); return t.Op.Mul(p[0], p[1]); }),
        new("Split", "one part", t => t.Op.Split(X(t), 1, 1, 2)[1]),
        new("Slice", "middle", t => Slice(t, [1], [3], [-1])),
        new("Slice", "to the end", t => Slice(t, [1], [long.MaxValue], [1])),
        new("Slice", "from the back", t => Slice(t, [-3], [-1], [2])),
        new("Slice", "last", t => Slice(t, [-1], [long.MaxValue], [1])),
        new("Slice", "all but the last", t => Slice(t, [0], [-1], [1])),
        new("Slice", "two axes, out of range", t => Slice(t, [-9, 1], [1, 9], [0, 2])) { Symbolic = false },
        new("Slice", "reversed", t => Slice(t, [-1], [long.MinValue], [2], [-1])) { Symbolic = false },
        new("Slice", "reversed middle", t => Slice(t, [2, 1], [0, -9], [2, 1], [-1, -1])) { Symbolic = false },
        new("Slice", "everything", t => Slice(t, [0], [4], [2])),
        new("Pad", "two axes", t => t.Op.Emit("Pad", [X(t), t.Op.Integers(0, 1, 0, 2, 0, 1)])),
        new("Pad", "given axes and value", t => t.Op.Emit("Pad", [X(t), t.Op.Integers(1, 2), t.Op.Scalar(3, t.Wanted[0]), t.Op.Integers(-1)])),
        new("Pad", "cutting", t => t.Op.Emit("Pad", [X(t), t.Op.Integers(0, 1, -1, 0, 0, 2)])),
        new("Tile", "two axes", t => t.Op.Emit("Tile", [X(t), t.Op.Integers(2, 1, 3)])),
        new("Trilu", "upper, above the diagonal", t => t.Op.Emit("Trilu", [X(t), t.Op.Constant(InMemoryTensor.Scalar(ElementType.Int64, 1))])),
        new("Trilu", "lower", t => t.Op.Emit("Trilu", [X(t)], NodeAttribute.Of("upper", 0))),
    ];

    private static Value X(TestGraph t) => t.Input("X", [2, 3, 4]);

    private static Value Slice(TestGraph t, long[] starts, long[] ends, long[] axes, long[]? steps = null)
    {
        var (x, op) = (X(t), t.Op);
        return op.Emit("Slice", steps is null
            ? [x, op.Integers(starts), op.Integers(ends), op.Integers(axes)]
            : [x, op.Integers(starts), op.Integers(ends), op.Integers(axes), op.Integers(steps)]);
    }
}
