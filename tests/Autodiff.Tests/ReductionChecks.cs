using SorsaOrt.Ir;

namespace SorsaOrt.Autodiff.Tests;

/// <summary>Checks of reductions, over one axis, several, and all, kept and not.</summary>
internal static class ReductionChecks
{
    public static IEnumerable<RuleCheck> All =>
    [
        .. ((string[])["ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceSumSquare", "ReduceL2", "ReduceLogSumExp"]).SelectMany(op => Cases(op)),
        .. Cases("ReduceL1", t => t.Op.Unary("Abs", X(t))), .. Cases("ReduceLogSum", X, "Log"),
        new("ReduceSum", "nothing, as asked", t => t.Op.Emit("ReduceSum", [X(t)], NodeAttribute.Of("noop_with_empty_axes", 1))),
        new("ReduceL2", "of a row", t => t.Op.Reduce("ReduceL2", t.Input("X", [5]), false)),
        .. from exclusive in (long[])[0, 1]
           from reverse in (long[])[0, 1]
           select new RuleCheck("CumSum", $"exclusive {exclusive}, reverse {reverse}", t => t.Op.Emit("CumSum",
               [t.Input("X", [2, 4]), t.Op.Constant(InMemoryTensor.Scalar(ElementType.Int64, 1))],
               NodeAttribute.Of("exclusive", exclusive), NodeAttribute.Of("reverse", reverse))),
    ];

    private static Value X(TestGraph t) => t.Input("X", [2, 3, 4], 0.2, 2);

    // The float32 ones are compared with the sum of the function in the third argument.
    private static IEnumerable<RuleCheck> Cases(string op, Func<TestGraph, Value>? terms = null, string? after = null) =>
        from axes in (long[][])[[1], [-1], [0, 2], []]
        from keep in (bool[])[false, true]
        select new RuleCheck(op, $"axes [{string.Join(',', axes)}], {(keep ? "kept" : "dropped")}", t => t.Op.Reduce(op, X(t), keep, axes))
        {
            Composed = terms is null ? null : t =>
            {
                var sum = t.Op.ReduceSum(terms(t), keep, axes);
                return after is null ? sum : t.Op.Unary(after, sum);
            },
        };
}
