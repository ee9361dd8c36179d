using SorsaOrt.Ir;

namespace SorsaOrt.Autodiff.Rules;

/// <summary>Cutting out and padding, each the other's gradient.</summary>
internal static class SliceRules
{
    public static void AddTo(GradientTable table) => table.Add("Slice", Slice).Add("Pad", Pad);

    /// <summary>Y = X[start:end] gives dX = dY between zeros; with step −1, dY is turned round first.</summary>
    private static IReadOnlyList<Value?> Slice(GradientContext g, Node node, Value dY)
    {
        var x = node.Inputs[0]!;
        var rank = g.Rank(x);
        var starts = Known(g, node, 1);
        var ends = Known(g, node, 2);
        var axes = node.InputOrNull(3) is null ? [.. Enumerable.Range(0, starts.Count)] : Known(g, node, 3);
        var steps = node.InputOrNull(4) is null ? [.. starts.Select(_ => 1L)] : Known(g, node, 4);
        var margins = new Margin[rank];
        var turned = new List<long>();
        for (var i = 0; i < axes.Count; i++)
        {
            var axis = (int)GradientContext.FromFront(axes[i], rank);
            var (from, to) = (x.Shape![axis].Value, dY.Shape?[axis].Value);
            if (steps[i] is not (1 or -1) || (steps[i] == -1 && (from is null || to is null)))
                throw g.Refusal(node, $"the step is {steps[i]} and the length {x.Shape[axis]}", "export with step 1, or step -1 and constant lengths");
            if (steps[i] == -1)
                turned.Add(axis);
            margins[axis] = steps[i] == 1 ? Forward(starts[i], ends[i], from, to) : Backward(starts[i], from!.Value, to!.Value);
        }
        return [PadTo(g, Turned(g.Op, dY, turned), x, margins)];
    }

    /// <summary>Y = X between constants gives dX = the middle of dY; negative padding cuts, so that its gradient pads.</summary>
    private static IReadOnlyList<Value?> Pad(GradientContext g, Node node, Value dY)
    {
        if (node.Text("mode", "constant") != "constant")
            throw g.Refusal(node, $"the mode is {node.Text("mode", "")}", "export with constant padding");
        var op = g.Op;
        if (GradientContext.Integers(node.Inputs[1]) is not { } pads || pads.Any(p => p < 0))
        {
            var negated = op.Unary("Neg", node.Inputs[1]!);
            var dX = op.Emit("Pad", node.InputOrNull(3) is { } padded ? [dY, negated, null, padded] : [dY, negated]);
            dX.Type = node.Inputs[0]!.Type;
            return [dX];
        }
        var axes = node.InputOrNull(3) is null ? [.. Enumerable.Range(0, pads.Count / 2).Select(i => (long)i)] : Known(g, node, 3);
        var ends = pads.Skip(axes.Count).Select(p => p == 0 ? long.MaxValue : -p);
        var middle = op.Emit("Slice", [dY, op.Integers([.. pads.Take(axes.Count)]), op.Integers([.. ends]), op.Integers([.. axes])]);
        middle.Type = node.Inputs[0]!.Type;
        return [middle];
    }

    /// <summary>Pads <paramref name="dY"/> with zeros to the shape of <paramref name="x"/>, given where it stands along each axis.</summary>
    public static Value PadTo(GradientContext g, Value dY, Value x, IReadOnlyList<Margin> margins)
    {
        var op = g.Op;
        Value pads;
        if (x.Type?.StaticShape is { } to && dY.Type?.StaticShape is { } from)
        {
            var before = margins.Select((m, i) => m.FromEnd ? to[i] - from[i] - m.Length : m.Length).ToArray();
            if (to.SequenceEqual(from))
                return dY;
            pads = op.Integers([.. before, .. before.Select((b, i) => to[i] - from[i] - b)]);
        }
        else
        {
            // before = length, or slack − length where it is counted from the end; after = slack − before.
            var slack = op.Sub(op.ShapeOf(x), op.ShapeOf(dY));
            var before = op.Add(op.Mul(slack, op.Integers([.. margins.Select(m => m.FromEnd ? 1L : 0)])),
                op.Integers([.. margins.Select(m => m.FromEnd ? -m.Length : m.Length)]));
            pads = op.Concat(0, before, op.Sub(slack, before));
        }
        var result = op.Emit("Pad", [dY, pads]);
        result.Type = x.Type;
        return result;
    }

    // Where elements start … end stand: before them lie `start`, or after them as many as `end` leaves.
    private static Margin Forward(long start, long end, long? from, long? to)
    {
        if (from is { } n)
            return new Margin(Math.Clamp(start < 0 ? start + n : start, 0, n), false);
        if (start >= 0)
            return new Margin(start, false);
        return end < 0 ? new Margin(-end, true) : new Margin(to is { } length ? Math.Max(-start - length, 0) : 0, true);
    }

    private static Margin Backward(long start, long from, long to) =>
        new(to == 0 ? 0 : Math.Clamp(start < 0 ? start + from : start, 0, from - 1) - (to - 1), false);

    private static Value Turned(OpBuilder op, Value x, List<long> axes)
    {
        if (axes.Count == 0)
            return x;
        long[] Filled(long n) => [.. axes.Select(_ => n)];
        var type = x.Type;
        var turned = op.Emit("Slice", [x, op.Integers(Filled(-1)), op.Integers(Filled(long.MinValue)), op.Integers([.. axes]), op.Integers(Filled(-1))]);
        turned.Type = type;
        return turned;
    }

    private static IReadOnlyList<long> Known(GradientContext g, Node node, int input) => GradientContext.Integers(node.InputOrNull(input))
        ?? throw g.Refusal(node, $"input {input} is not constant", "export with constant bounds");
}

/// <summary>Place of a part along an axis: this many elements before it, or with <paramref name="FromEnd"/> after it.</summary>
internal readonly record struct Margin(long Length, bool FromEnd);
