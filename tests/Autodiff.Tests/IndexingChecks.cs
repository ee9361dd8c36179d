using SorsaOrt.Ir;

namespace SorsaOrt.Autodiff.Tests;

/// <summary>Checks of reading and writing at computed places, with places that repeat and that count from the end.</summary>
internal static class IndexingChecks
{
    private static readonly NodeAttribute AddUp = NodeAttribute.Of("reduction", "add");

    public static IEnumerable<RuleCheck> All =>
    [
        new("Gather", "rows, repeated", t => t.Op.Gather(t.Input("X", [5, 3]), t.Integers("I", [2, 3], 4, 0, 0, -1, 2, 4))),
        new("Gather", "middle axis", t => t.Op.Gather(t.Input("X", [2, 5, 3]), t.Integers("I", [4], 4, 0, 0, -1), 1)),
        new("Gather", "last axis, matrix of places", t => t.Op.Gather(t.Input("X", [2, 3, 5]), t.Integers("I", [2, 2], 4, 0, 0, -1), -1)),
        new("Gather", "one place at run time", t => t.Op.Gather(t.Input("X", [5, 3]), t.Integers("I", [], 2))),
        new("Gather", "one constant place", t => t.Op.Gather(t.Input("X", [2, 5, 3]), Scalar(t, 3), 1)),
        new("Gather", "last place", t => t.Op.Gather(t.Input("X", [2, 5, 3]), Scalar(t, -1), 1)),
        new("Gather", "into a sum", t =>
        {
            var x = t.Input("X", [5, 3]);
            return t.Op.Add(t.Op.Gather(x, t.Integers("I", [5], 4, 0, 0, -1, 2)), t.Op.Mul(x, x));
        }),
        new("GatherElements", "repeated", t => Elements(t, t.Input("X", [2, 5]), t.Integers("I", [2, 3], 4, 4, 0, -1, 2, 4), 1)),
        new("GatherElements", "one per row", t => Elements(t, t.Input("X", [3, 5]), t.Integers("I", [3, 1], 4, 0, 2), -1)),
        new("GatherElements", "one per row, into a sum", t =>
        {
            var x = t.Input("X", [3, 5]);
            return t.Op.Sub(Elements(t, x, t.Integers("I", [3, 1], 4, 0, 2), 1), t.Op.Mul(x, x));
        }),
        new("GatherND", "rows, repeated", t => t.Op.Emit("GatherND", [t.Input("X", [3, 4, 2]), t.Integers("I", [3, 2], 0, 1, 2, 3, 0, 1)])) { Symbolic = false },
        new("ScatterND", "replacing", t => t.Op.Emit("ScatterND", [t.Input("X", [4, 3]), t.Integers("I", [2, 1], 3, 1), t.Input("U", [2, 3])])),
        new("ScatterND", "adding", t => t.Op.Emit("ScatterND", [t.Input("X", [4, 3]), t.Integers("I", [2, 1], 3, 3), t.Input("U", [2, 3])], AddUp)),
        new("ScatterElements", "replacing", t => t.Op.Emit("ScatterElements",
            [t.Input("X", [3, 4]), t.Integers("I", [3, 2], 3, 0, 1, 2, 0, 1), t.Input("U", [3, 2])], NodeAttribute.Of("axis", 1))),
        new("ScatterElements", "adding", t => t.Op.Emit("ScatterElements",
            [t.Input("X", [3, 4]), t.Integers("I", [3, 2], 3, 3, 1, 2, 0, 0), t.Input("U", [3, 2])], NodeAttribute.Of("axis", 1), AddUp)),
    ];

    private static Value Elements(TestGraph t, Value x, Value indices, long axis) => t.Op.Emit("GatherElements", [x, indices], NodeAttribute.Of("axis", axis));

    private static Value Scalar(TestGraph t, long value) => t.Op.Constant(InMemoryTensor.Scalar(ElementType.Int64, value));
}
