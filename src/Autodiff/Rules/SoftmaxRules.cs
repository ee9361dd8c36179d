using SorsaOrt.Ir;

namespace SorsaOrt.Autodiff.Rules;

/// <summary>Softmax and its logarithm, in closed form.</summary>
internal static class SoftmaxRules
{
    public static void AddTo(GradientTable table) => table.Add("Softmax", Softmax).Add("LogSoftmax", LogSoftmax);

    /// <summary>Y = softmax X gives dX = Y·(dY − Σ dY·Y).</summary>
    /// <remarks>
    /// A row that is masked whole gives NaN. Exporters hide it behind Where(IsNaN(Y), 0, Y), whose result then stands for Y:
    /// dY is 0 in such a row, but 0·NaN would not be.
    /// </remarks>
    private static IReadOnlyList<Value?> Softmax(GradientContext g, Node node, Value dY)
    {
        var (op, y) = (g.Op, WithoutNaN(node.Output));
        var mean = op.ReduceSum(op.Mul(dY, y), keepDims: true, g.Axis(node, y, -1));
        return [op.Mul(y, op.Sub(dY, mean))];
    }

    /// <summary>Y = log softmax X gives dX = dY − exp(Y)·Σ dY.</summary>
    /// <remarks>Where dY holds one element d of each row, scattered into zeros (a cross entropy), d is the sum, and is scattered into −exp(Y)·d.</remarks>
    private static IReadOnlyList<Value?> LogSoftmax(GradientContext g, Node node, Value dY)
    {
        var (op, axis) = (g.Op, g.Axis(node, node.Output, -1));
        var softmax = op.Unary("Exp", node.Output);
        if (IndexingRules.OnePerRow(dY, axis) is not { } scatter)
            return [op.Sub(dY, op.Mul(softmax, op.ReduceSum(dY, keepDims: true, axis)))];
        var (indices, d) = (scatter.Inputs[1]!, scatter.Inputs[2]!);
        return [IndexingRules.AddOnePerRow(op, op.Mul(softmax, op.Unary("Neg", d)), indices, d, axis)];
    }

    // The reader Where(IsNaN(y), 0, y) of y, if there is one, else y.
    private static Value WithoutNaN(Value y) => y.Uses.Where(u => u.Node.Is("IsNaN")).SelectMany(u => u.Node.Output.Uses)
        .Where(u => u is { InputIndex: 0, Node: { OpType: "Where", Domain: "" } where }
            && ReferenceEquals(where.Inputs[2], y) && GradientContext.Number(where.Inputs[1]) == 0)
        .Select(u => u.Node.Output).FirstOrDefault(y);
}
