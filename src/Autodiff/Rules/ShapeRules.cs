using SorsaOrt.Ir;

namespace SorsaOrt.Autodiff.Rules;

/// <summary>Operators that move elements without computing: the gradient moves them back.</summary>
internal static class ShapeRules
{
    public static void AddTo(GradientTable table)
    {
        foreach (var opType in (string[])["Reshape", "Flatten", "Squeeze", "Unsqueeze"])
            table.Add(opType, (g, node, dY) => [g.ReshapeLike(dY, node.Inputs[0]!)]);
        table.Add("Transpose", Transpose)
            .Add("Expand", (_, _, dY) => [dY])  // summed to the input's shape by ReverseMode
            .Add("Concat", Concat)
            .AddManyOutputs("Split", Split)
            .Add("Tile", Tile)
            .Add("Trilu", Trilu);
    }

    /// <summary>Y = X with axes permuted by p gives dX = dY permuted by the inverse of p.</summary>
    private static IReadOnlyList<Value?> Transpose(GradientContext g, Node node, Value dY)
    {
        var rank = g.Rank(node.Inputs[0]!);
        var permutation = node.Ints("perm") ?? [.. Enumerable.Range(0, rank).Select(i => (long)(rank - 1 - i))];
        var inverse = new long[rank];
        for (var i = 0; i < rank; i++)
            inverse[permutation[i]] = i;
        return [g.Op.Transpose(dY, inverse)];
    }

    /// <summary>Y = X₁ … Xₙ joined gives each Xᵢ its part of dY.</summary>
    private static IReadOnlyList<Value?> Concat(GradientContext g, Node node, Value dY)
    {
        var axis = g.Axis(node, node.Output, 0);
        if (node.Inputs.Count == 1)
            return [dY];
        var lengths = node.Inputs.Select(x => x!.Shape?[axis].Value).ToArray();
        if (Array.TrueForAll(lengths, n => n.HasValue))
            return [.. g.Op.Split(dY, axis, [.. lengths.Select(n => n!.Value)])];
        var computed = g.Op.Concat(0, node.Inputs.Select(x => Length(g, x!, axis)));
        var parts = g.Op.Emit("Split", "", lengths.Length, [dY, computed], NodeAttribute.Of("axis", axis));
        foreach (var (part, x) in parts.Zip(node.Inputs))
            part.Type = x!.Type;
        return [.. parts];
    }

    /// <summary>Y₁ … Yₙ = X cut gives dX = dY₁ … dYₙ joined; a part that does not lead to the loss counts as zeros.</summary>
    private static IReadOnlyList<Value?> Split(GradientContext g, Node node, IReadOnlyList<Value?> dY) =>
        [g.Op.Concat(g.Axis(node, node.Inputs[0]!, 0), node.Outputs.Select((y, i) => dY[i] ?? g.ZerosLike(y!)))];

    /// <summary>Y = X repeated rᵢ times along axis i gives dX = dY, seen as [r₁, n₁, r₂, n₂, …], summed over the rᵢ.</summary>
    private static IReadOnlyList<Value?> Tile(GradientContext g, Node node, Value dY)
    {
        var (op, x) = (g.Op, node.Inputs[0]!);
        var (rank, repeats) = (g.Rank(x), op.Unsqueeze(node.Inputs[1]!, 1));
        var interleaved = op.Reshape(op.Concat(1, repeats, op.Unsqueeze(g.ShapeOf(x), 1)), -1);
        var apart = op.Reshape(dY, interleaved);
        apart.Type = new TensorType(x.ElementType, [.. x.Shape!.SelectMany(d => (Dim[])[Dim.Unknown, d])]);
        return [op.ReduceSum(apart, keepDims: false, [.. Enumerable.Range(0, rank).Select(i => 2L * i)])];
    }

    /// <summary>Y = a triangle of X gives dX = the same triangle of dY.</summary>
    private static IReadOnlyList<Value?> Trilu(GradientContext g, Node node, Value dY) =>
        [g.Op.Emit("Trilu", [dY, node.InputOrNull(1)], NodeAttribute.Of("upper", node.Int("upper", 1)))];

    private static Value Length(GradientContext g, Value x, int axis) => x.Shape?[axis].Value is { } n ? g.Op.Integers(n)
        : g.Op.Emit("Shape", [x], NodeAttribute.Of("start", axis), NodeAttribute.Of("end", axis + 1));
}
