using SorsaOrt.Ir;

namespace SorsaOrt.Autodiff.Tests;

/// <summary>Checks of matrix products.</summary>
internal static class MatMulChecks
{
    private static readonly bool[] Both = [false, true];

    public static IEnumerable<RuleCheck> All =>
    [
        .. ((long[] A, long[] B)[])
        [
            ([3, 4], [4, 5]), ([2, 3, 4], [4, 5]), ([2, 1, 3, 4], [4, 5]), ([3, 4], [2, 4, 5]), ([2, 3, 4], [2, 4, 5]), ([2, 3, 4], [1, 4, 5]),
            ([6, 1, 3, 4], [2, 4, 5]), ([1, 4], [2, 3, 4, 5]), ([4], [4, 5]), ([3, 4], [4]), ([4], [4]), ([2, 3, 4], [4]), ([4], [2, 4, 5]), ([1, 1], [1, 1]),
        ]
        is var shapes ? shapes.Select(s => new RuleCheck("MatMul", $"[{string.Join(',', s.A)}]·[{string.Join(',', s.B)}]",
            t => t.Op.MatMul(t.Input("A", s.A), t.Input("B", s.B)))) : [],
        new("MatMul", "frozen weight", t => t.Op.MatMul(t.Input("A", [2, 3, 4]), t.Constant("W", 4, 5))),
        new("MatMul", "frozen matrix on the left", t => t.Op.MatMul(t.Constant("W", 3, 4), t.Input("B", [2, 4, 5]))),
        new("MatMul", "transposed matrix", t => t.Op.MatMul(t.Input("A", [2, 3, 4]), t.Op.Transpose(t.Input("W", [5, 4]), 1, 0))),
        new("MatMul", "a value with its transpose", t => t.Op.MatMul(t.Input("A", [3, 4]), t.Op.Transpose(t.Wanted[0], 1, 0))),
        .. from a in Both from b in Both from c in (long[][])[[3, 5], [5], [3, 1], [], [1, 5]] select Gemm(a, b, c),
        new("Gemm", "without C", t => t.Op.Gemm(t.Input("A", [3, 4]), t.Input("B", [5, 4]), transB: true)),
        .. from a in Both from b in Both select Fused([2, 3, 4], [2, 4, 5], a, b),
        Fused([2, 3, 4], [4, 5], false, false), Fused([2, 3, 4], [4, 5], false, true), Fused([2, 3, 4], [4, 5], true, true), Fused([3, 4], [4, 5], true, true),
        Fused([3, 4], [2, 4, 5], true, false), Fused([3, 4], [2, 4, 5], false, true),
    ];

    private static RuleCheck Gemm(bool transA, bool transB, long[] c) =>
        new("Gemm", $"transA {transA}, transB {transB}, C [{string.Join(',', c)}]", t => t.Op.Emit("Gemm",
            [t.Input("A", transA ? [4, 3] : [3, 4]), t.Input("B", transB ? [5, 4] : [4, 5]), t.Input("C", c)],
            NodeAttribute.Of("alpha", 0.5f), NodeAttribute.Of("beta", -1.5f), NodeAttribute.Of("transA", transA ? 1 : 0), NodeAttribute.Of("transB", transB ? 1 : 0)));

    private static RuleCheck Fused(long[] a, long[] b, bool transA, bool transB)
    {
        Value A(TestGraph t) => t.Input("A", transA ? Turned(a) : a);
        Value B(TestGraph t) => t.Input("B", transB ? Turned(b) : b);
        return new("com.microsoft::FusedMatMul", $"transA {transA}, transB {transB}, [{string.Join(',', a)}]·[{string.Join(',', b)}]", t => t.Op.Emit("FusedMatMul", "com.microsoft", 1, [A(t), B(t)],
            NodeAttribute.Of("alpha", 0.25f), NodeAttribute.Of("transA", transA ? 1 : 0), NodeAttribute.Of("transB", transB ? 1 : 0))[0])
        {
            Composed = t => t.Op.Mul(t.Op.MatMul(transA ? t.Op.SwapLastAxes(A(t)) : A(t), transB ? t.Op.SwapLastAxes(B(t)) : B(t)), 0.25),
        };
    }

    private static long[] Turned(long[] shape) => [.. shape[..^2], shape[^1], shape[^2]];
}
