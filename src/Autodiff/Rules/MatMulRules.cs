using SorsaOrt.Ir;

namespace SorsaOrt.Autodiff.Rules;

/// <summary>Matrix products. Matrices go through Gemm, whose transposes are free: a Transpose of a frozen weight would be folded into a second copy of it.</summary>
internal static class MatMulRules
{
    public static void AddTo(GradientTable table) => table
        .Add("MatMul", (g, node, dY) => Product(g, node, false, false, 1, dY))
        .Add("Gemm", Gemm)
        .Add("FusedMatMul", FusedMatMul, "com.microsoft");

    /// <summary>Y = α·A'·B' + β·C gives dA' = α·dY·B'ᵀ, dB' = α·A'ᵀ·dY and dC = β·dY; ' transposes as the attributes say.</summary>
    private static IReadOnlyList<Value?> Gemm(GradientContext g, Node node, Value dY)
    {
        var beta = node.Float("beta", 1);
        var dC = g.Wants(node.InputOrNull(2)) ? beta == 1 ? dY : g.Op.Mul(dY, beta) : null;
        return [.. Product(g, node, node.Int("transA", 0) != 0, node.Int("transB", 0) != 0, node.Float("alpha", 1), dY), dC];
    }

    /// <summary>Y = α·A'·B' over the last two axes, as <see cref="Product"/>.</summary>
    private static IReadOnlyList<Value?> FusedMatMul(GradientContext g, Node node, Value dY)
    {
        if (node.Int("transBatchA", 0) != 0 || node.Int("transBatchB", 0) != 0)
            throw g.Refusal(node, "batch axes are transposed", "export without transBatchA and transBatchB");
        return Product(g, node, node.Int("transA", 0) != 0, node.Int("transB", 0) != 0, node.Float("alpha", 1), dY);
    }

    /// <summary>Y = α·A'·B' gives dA' = α·dY·B'ᵀ and dB' = α·A'ᵀ·dY. Broadcast batch axes are summed by <see cref="ReverseMode"/>.</summary>
    /// <remarks>A' [..., m, k], B' [..., k, n], dY [..., m, n]; a vector on the left is a row, on the right a column.</remarks>
    private static IReadOnlyList<Value?> Product(GradientContext g, Node node, bool transA, bool transB, float alpha, Value dY)
    {
        var (op, a, b) = (g.Op, node.Inputs[0]!, node.Inputs[1]!);
        var (rowVector, columnVector) = (g.Rank(a) == 1, g.Rank(b) == 1);
        if (columnVector)
            (b, dY, transB) = (op.Unsqueeze(b, 1), op.Unsqueeze(dY, -1), false);
        if (rowVector)
            (a, dY, transA) = (op.Unsqueeze(a, 0), op.Unsqueeze(dY, -2), false);
        var dA = g.Wants(node.Inputs[0]) ? Left(g, a, b, transA, transB, alpha, dY) : null;
        var dB = g.Wants(node.Inputs[1]) ? Right(g, a, b, transA, transB, alpha, dY) : null;
        return [dA, dB is not null && columnVector ? op.Squeeze(dB, -1) : dB];
    }

    // dA = α·dY·B'ᵀ, or its transpose α·B'·dYᵀ.
    private static Value Left(GradientContext g, Value a, Value b, bool transA, bool transB, float alpha, Value dY)
    {
        var op = g.Op;
        if (g.Rank(b) == 2 && !transA)
        {
            var (matrix, factor) = FactorOfRows(dY, b.Shape![transB ? 1 : 0]);
            var rows = Matrices(op, g.Rows(matrix), false, b, !transB, alpha);
            rows = factor is null ? rows : op.Mul(rows, factor);
            return g.Rank(a) == 2 ? rows : g.ReshapeLike(rows, a);
        }
        if (g.Rank(a) == 2 && g.Rank(b) == 2)
            return Matrices(op, b, transB, dY, true, alpha);
        return Scaled(op, transA ? op.MatMul(Turned(op, b, transB), op.SwapLastAxes(dY)) : op.MatMul(dY, Turned(op, b, !transB)), alpha);
    }

    // dB = α·A'ᵀ·dY, or its transpose α·dYᵀ·A'.
    private static Value Right(GradientContext g, Value a, Value b, bool transA, bool transB, float alpha, Value dY)
    {
        var op = g.Op;
        if (g.Rank(b) == 2 && (g.Rank(a) == 2 || !transA))
        {
            var (rows, dRows) = (g.Rows(a), g.Rows(dY));
            return transB ? Matrices(op, dRows, true, rows, transA, alpha) : Matrices(op, rows, !transA, dRows, false, alpha);
        }
        // A matrix on the left may be a frozen weight: turn the activations instead.
        if (g.Rank(a) == 2 && !transB)
            return Scaled(op, op.SwapLastAxes(op.MatMul(op.SwapLastAxes(dY), Turned(op, a, transA))), alpha);
        return Scaled(op, transB ? op.MatMul(op.SwapLastAxes(dY), Turned(op, a, transA)) : op.MatMul(Turned(op, a, !transA), dY), alpha);
    }

    // A matrix whose rows are multiplied by a number each, where the product with it is narrower: there the numbers cost less. That of a cross entropy is as wide as the vocabulary.
    private static (Value Matrix, Value? Factor) FactorOfRows(Value dY, Dim width) =>
        dY.Producer is { Inputs: [{ } matrix, { } factor] } node && node.Is("Mul") && matrix.Shape is [var rows, { Value: { } columns }] && matrix.HasShapeOf(dY)
        && factor.Shape is [var each, var one] && Dim.Same(each, rows) && one.Is(1) && width.Value < columns ? (matrix, factor) : (dY, null);

    // α·x'·y' of two matrices; a Transpose node in front of one of them is undone.
    private static Value Matrices(OpBuilder op, Value x, bool transX, Value y, bool transY, float alpha)
    {
        (x, transX) = Untransposed(x, transX);
        (y, transY) = Untransposed(y, transY);
        return op.Gemm(x, y, transA: transX, transB: transY, alpha: alpha);
    }

    private static (Value Matrix, bool Transposed) Untransposed(Value x, bool transposed) =>
        x.Producer is { } node && node.Is("Transpose") && (node.Ints("perm") is null or [1, 0]) && node.Inputs[0]?.Shape?.Count == 2
            ? (node.Inputs[0]!, !transposed) : (x, transposed);

    private static Value Turned(OpBuilder op, Value x, bool turn) => turn ? op.SwapLastAxes(x) : x;

    private static Value Scaled(OpBuilder op, Value x, float alpha) => alpha == 1 ? x : op.Mul(x, alpha);
}
