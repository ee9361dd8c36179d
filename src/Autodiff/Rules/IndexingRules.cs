using SorsaOrt.Ir;

namespace SorsaOrt.Autodiff.Rules;

/// <summary>Reading and writing at computed places. What is read more than once gets the sum.</summary>
internal static class IndexingRules
{
    private static readonly NodeAttribute AddUp = NodeAttribute.Of("reduction", "add");

    public static void AddTo(GradientTable table) => table
        .Add("Gather", Gather)
        .Add("GatherElements", GatherElements)
        .Add("GatherND", GatherND)
        .Add("ScatterND", ScatterND)
        .Add("ScatterElements", ScatterElements);

    /// <summary>Y = X[I] along an axis gives dX[I] += dY.</summary>
    private static IReadOnlyList<Value?> Gather(GradientContext g, Node node, Value dY)
    {
        var (op, x, indices) = (g.Op, node.Inputs[0]!, node.Inputs[1]!);
        var (axis, rank) = (g.Axis(node, x, 0), g.Rank(x));
        if (g.Rank(indices) == 0 && GradientContext.Integers(indices) is [var index])
            return [One(g, dY, x, axis, index)];
        var places = op.Unsqueeze(indices, -1);
        if (axis == 0)
            return [op.Emit("ScatterND", [g.TakeSum(x) ?? g.ZerosLike(x), places, dY], AddUp)];
        // The gathered axes come first, rows are added, and the axis goes back to its place.
        var indexRank = g.Rank(indices);
        var toFront = Enumerable.Range(axis, indexRank).Concat(Enumerable.Range(0, axis)).Concat(Enumerable.Range(axis + indexRank, rank - 1 - axis));
        var rows = Enumerable.Range(axis, 1).Concat(Enumerable.Range(0, axis)).Concat(Enumerable.Range(axis + 1, rank - 1 - axis)).ToArray();
        var back = rows.Select((_, i) => (long)Array.IndexOf(rows, i));
        var zeros = op.Transpose(g.ZerosLike(x), Longs(rows));
        return [op.Transpose(op.Emit("ScatterND", [zeros, places, op.Transpose(dY, Longs(toFront))], AddUp), [.. back])];
    }

    // Y = X at one constant place of an axis: dX is dY between zeros.
    private static Value One(GradientContext g, Value dY, Value x, int axis, long index)
    {
        var margins = new Margin[g.Rank(x)];
        margins[axis] = index < 0 ? new Margin(-1 - index, true) : new Margin(index, false);
        return SliceRules.PadTo(g, g.Op.Unsqueeze(dY, axis), x, margins);
    }

    /// <summary>Y[i] = X[I[i]] along an axis gives dX[I[i]] += dY[i].</summary>
    private static IReadOnlyList<Value?> GatherElements(GradientContext g, Node node, Value dY)
    {
        var (op, x, indices) = (g.Op, node.Inputs[0]!, node.Inputs[1]!);
        var axis = g.Axis(node, x, 0);
        if (OnePerRow(indices, x, axis) && g.TakeSum(x) is { } sum)
            return [AddOnePerRow(op, sum, indices, dY, axis)];
        // One element per row is never the same twice, so that writing is as good as adding.
        return [op.Emit("ScatterElements", [g.ZerosLike(x), indices, dY], [NodeAttribute.Of("axis", axis), .. OnePerRow(indices, x, axis) ? (NodeAttribute[])[] : [AddUp]])];
    }

    /// <summary>Y[i] = X[I[i]] with places I gives dX[I[i]] += dY[i].</summary>
    private static IReadOnlyList<Value?> GatherND(GradientContext g, Node node, Value dY)
    {
        if (node.Int("batch_dims", 0) != 0)
            throw g.Refusal(node, "batch_dims is not 0", "export with batch_dims 0");
        var x = node.Inputs[0]!;
        return [g.Op.Emit("ScatterND", [g.TakeSum(x) ?? g.ZerosLike(x), node.Inputs[1], dY], AddUp)];
    }

    /// <summary>Y = X but Y[I] = U, or Y[I] += U, gives dU = dY[I], and dX = dY with zeros at I, or dY.</summary>
    private static IReadOnlyList<Value?> ScatterND(GradientContext g, Node node, Value dY)
    {
        var (op, indices, updates) = (g.Op, node.Inputs[1]!, node.Inputs[2]!);
        return
        [
            !g.Wants(node.Inputs[0]) ? null : Adds(g, node) ? dY : op.Emit("ScatterND", [dY, indices, g.ZerosLike(updates)]),
            null,
            g.Wants(updates) ? op.Emit("GatherND", [dY, indices]) : null,
        ];
    }

    /// <summary>As <see cref="ScatterND"/>, with places along one axis.</summary>
    private static IReadOnlyList<Value?> ScatterElements(GradientContext g, Node node, Value dY)
    {
        var (op, indices, updates) = (g.Op, node.Inputs[1]!, node.Inputs[2]!);
        var axis = NodeAttribute.Of("axis", node.Int("axis", 0));
        return
        [
            !g.Wants(node.Inputs[0]) ? null : Adds(g, node) ? dY : op.Emit("ScatterElements", [dY, indices, g.ZerosLike(updates)], axis),
            null,
            g.Wants(updates) ? op.Emit("GatherElements", [dY, indices], axis) : null,
        ];
    }

    /// <summary>The ScatterElements node that wrote one element per row into zeros to make <paramref name="x"/>, or null.</summary>
    public static Node? OnePerRow(Value x, int axis) => x.Producer is { } node && node.Is("ScatterElements") && !node.Attributes.ContainsKey("reduction")
        && node.Int("axis", 0) == axis && OnePerRow(node.Inputs[1]!, x, axis) && node.Inputs[0]!.Producer is { } zeros && zeros.Is("ConstantOfShape") ? node : null;

    /// <summary>x with d added at one place per row, without relying on a reduction that not every provider has.</summary>
    public static Value AddOnePerRow(OpBuilder op, Value x, Value indices, Value d, int axis)
    {
        var along = NodeAttribute.Of("axis", axis);
        return op.Emit("ScatterElements", [x, indices, op.Add(op.Emit("GatherElements", [x, indices], along), d)], along);
    }

    private static bool OnePerRow(Value indices, Value x, int axis) =>
        indices.Shape is { } shape && shape[axis].Is(1) && x.Shape is { } full && !shape.Where((d, i) => i != axis && !Dim.Same(d, full[i])).Any();

    private static bool Adds(GradientContext g, Node node) => node.Text("reduction", "none") switch
    {
        "none" => false,
        "add" => true,
        var other => throw g.Refusal(node, $"the reduction is {other}", "export with reduction none or add"),
    };

    private static long[] Longs(IEnumerable<int> axes) => [.. axes.Select(a => (long)a)];
}
