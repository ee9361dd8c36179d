namespace SorsaOrt.Ir.Passes;

/// <summary>x·cos + turned(x)·sin, as exporters write rotary embeddings out, becomes ONNX Runtime's RotaryEmbedding: one pass over x instead of five.</summary>
/// <remarks>
/// Needs a sorted graph with inferred shapes, and slices made a Split already. x f32 [B, heads, S, D]; turned exchanges the halves of D, the second negative in
/// either turned(x) or the table. Tables [B or 1, 1, S, D] whose halves are shown to hold the same angles: joined from one value, or a constant. They may be
/// scaled, cast or gathered by position. Half of each is handed to the operator as its cache, each token's row at a place of its own.
/// </remarks>
public static class FuseRotary
{
    /// <summary>Runs the pass on the main graph.</summary>
    /// <returns>Rotations fused.</returns>
    public static int Run(Model model)
    {
        var graph = model.Graph;
        var op = new OpBuilder(graph);
        var caches = new Dictionary<Value, Value>();
        var positions = new Dictionary<Value, Value>();
        var fused = 0;
        foreach (var node in graph.Nodes.ToArray())
        {
            if (!node.Is("Add") || node.Inputs is not [{ } a, { } b] || (Match(a, b) ?? Match(b, a)) is not { } rotation)
                continue;
            op.Scope = node.Name.Length > 0 ? node.Name : node.Output.Name;
            var result = op.Emit("RotaryEmbedding", ShapeRuleTable.Microsoft, 1, [rotation.X, Positions(rotation.Cos), Cache(rotation.Cos), Cache(rotation.Sin)])[0];
            fused += graph.Substitute(node.Output, result) ? 1 : 0;
        }
        if (fused > 0)
        {
            model.Opsets[ShapeRuleTable.Microsoft] = 1;
            graph.RemoveUnused();
            graph.SortTopologically();
        }
        return fused;

        // The second half of a table [b, 1, S, D] as [b·S, D/2].
        Value Cache(Value table)
        {
            if (!caches.TryGetValue(table, out var cache))
            {
                var size = table.Shape![3].Value!.Value;
                caches[table] = cache = op.Reshape(op.Slice(table, 3, size / 2, size), -1, size / 2);
            }
            return cache;
        }

        // 0, from where all rows count on, or the place of each token's row in the cache, [B, S].
        Value Positions(Value table)
        {
            if (table.Shape![0].Is(1))
                return op.Integers(0);
            if (!positions.TryGetValue(table, out var places))
            {
                var lengths = op.ShapeOf(table);
                var (rows, length) = (op.Gather(lengths, Number(0)), op.Gather(lengths, Number(2)));
                var shape = op.Concat(0, op.Unsqueeze(rows, 0), op.Unsqueeze(length, 0));
                var count = op.Mul(rows, length);
                places = op.Reshape(op.Emit("Range", [Number(0), count, Number(1)]), shape);
                places.Type = new TensorType(ElementType.Int64, [table.Shape[0], table.Shape[2]]);
                positions[table] = places;
            }
            return places;
        }

        Value Number(long value) => op.Constant(InMemoryTensor.Scalar(ElementType.Int64, value));
    }

    private static (Value X, Value Cos, Value Sin)? Match(Value straight, Value crossed)
    {
        if (straight.Producer is not { } first || crossed.Producer is not { } second || !first.Is("Mul") || !second.Is("Mul"))
            return null;
        foreach (var (turned, sin) in Orders(second))
        {
            if (TurnedOf(turned) is not { } turn)
                continue;
            foreach (var (x, cos) in Orders(first))
            {
                if (x == turn.X && IsTable(cos, x) && IsTable(sin, x) && Dim.Same(cos.Shape![0], sin.Shape![0]) && SecondHalf(cos) == 1 && SecondHalf(sin) == -turn.Sign)
                    return (x, cos, sin);
            }
        }
        return null;
    }

    private static IEnumerable<(Value, Value)> Orders(Node mul) => mul.Inputs is [{ } a, { } b] ? [(a, b), (b, a)] : [];

    // (x₂, x₁) or (−x₂, x₁) of the halves x₁, x₂ of x.
    private static (Value X, int Sign)? TurnedOf(Value value)
    {
        if (value.Producer is not { Inputs: [{ } front, { } back] } join || !join.Is("Concat") || !IsLast(join, value))
            return null;
        var (second, sign) = front.Producer is { } negated && negated.Is("Neg") ? (negated.Inputs[0]!, -1) : (front, 1);
        return back.Producer is { Outputs: [{ } one, { } two] } split && split.Is("Split") && IsLast(split, split.Inputs[0]!) && one == back && two == second
            && Dim.Same(one.Shape![^1], two.Shape![^1]) ? (split.Inputs[0]!, sign) : null;
    }

    private static bool IsLast(Node node, Value of) => of.Shape is { } shape && node.Int("axis", 0) is var axis && (axis == -1 || axis == shape.Count - 1);

    private static bool IsTable(Value table, Value x) => x.Shape is { Count: 4 } of && table.Shape is { Count: 4 } shape && x.ElementType == ElementType.Float32 && table.ElementType == ElementType.Float32
        && (shape[0].Is(1) || Dim.Same(shape[0], of[0])) && shape[1].Is(1) && Dim.Same(shape[2], of[2]) && Dim.Same(shape[3], of[3]) && of[3].Value is { } size && size % 2 == 0;

    // 1 where the second half of the last axis is shown to equal the first, −1 where it is its negative, else null.
    private static int? SecondHalf(Value value)
    {
        if (value.Constant is { ElementCount: <= 1 << 22 } data)
            return data.ToFloat64() is { } numbers && data.Shape.Count > 0 && data.Shape[^1] is var length and > 0 && length % 2 == 0 ? SecondHalf(numbers, (int)length) : null;
        if (value.Producer is not { Inputs: [{ } input, ..] } node || node.Domain.Length > 0)
            return null;
        switch (node.OpType)
        {
            case "Concat" when node.Inputs is [{ } front, { } back] && IsLast(node, value):
                return front == back ? 1 : IsNegative(front, back) || IsNegative(back, front) ? -1 : null;
            case "Cast" or "Neg" or "Identity" or "Sin":
                return SecondHalf(input);
            case "Cos":
                return SecondHalf(input) is null ? null : 1;
            case "Mul" when node.Inputs is [{ } a, { } b]:
                return b.ScalarOf() is not null ? SecondHalf(a) : a.ScalarOf() is not null ? SecondHalf(b) : null;
            case "Unsqueeze" when value.Shape is { } to && input.Shape is { Count: > 0 } from && Dim.Same(to[^1], from[^1]) && !to[^1].Is(1):
                return SecondHalf(input);
            case "Gather" when node.Int("axis", 0) == 0 && input.Shape is { Count: > 1 }:
                return SecondHalf(input);
            default:
                return null;
        }
    }

    private static int? SecondHalf(double[] numbers, int length)
    {
        var (equal, opposite) = (true, true);
        for (var i = 0; i < numbers.Length && (equal || opposite); i++)
        {
            if (i % length >= length / 2)
                continue;
            equal &= numbers[i] == numbers[i + length / 2];
            opposite &= numbers[i] == -numbers[i + length / 2];
        }
        return equal ? 1 : opposite ? -1 : null;
    }

    private static bool IsNegative(Value negative, Value of) => negative.Producer is { } node && node.Is("Neg") && node.Inputs[0] == of;
}
