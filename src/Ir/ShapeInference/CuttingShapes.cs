namespace SorsaOrt.Ir;

/// <summary>Operators that join and cut along axes.</summary>
internal static class CuttingShapes
{
    public static void AddTo(ShapeRuleTable table) => table
        .Add(Concat, "Concat")
        .Add(Split, "Split")
        .Add(Slice, "Slice")
        .Add(Pad, "Pad");

    private static void Concat(NodeInference n)
    {
        var count = n.Node.Inputs.Count;
        var shapes = Enumerable.Range(0, count).Select(n.Shape).ToArray();
        var type = Enumerable.Range(0, count).Select(n.ElementType).FirstOrDefault(t => t != ElementType.Undefined);
        if (shapes.FirstOrDefault(s => s is not null)?.Count is not { } rank)
        {
            n.Set(0, type, null);
            return;
        }
        if (shapes.Any(s => s is not null && s.Count != rank))
            throw new ArgumentException("Concat of different ranks");
        var axis = NodeInference.Axis(n.Node.Int("axis", 0), rank);
        var result = new Dim[rank];
        for (var i = 0; i < rank; i++)
        {
            var lengths = shapes.Select(s => s is null ? Dim.Unknown : s[i]).ToArray();
            result[i] = i == axis ? lengths.Aggregate((a, b) => a + b)
                : lengths.FirstOrDefault(d => d.Value is not null, lengths.FirstOrDefault(d => d.IsKnown, Dim.Unknown));
        }
        var parts = Enumerable.Range(0, count).Select(n.ElementsOrUnknowns).ToArray();
        n.Set(0, type, result, rank == 1 && parts.All(p => p is not null) ? parts.SelectMany(p => p!) : null);
    }

    /// <summary>Lengths from the input, the attribute of old opsets, or equal parts with a shorter last one.</summary>
    private static void Split(NodeInference n)
    {
        var shape = n.Shape(0);
        if (shape is null)
        {
            for (var i = 0; i < n.OutputCount; i++)
                n.Set(i, n.ElementType(0), null);
            return;
        }
        var axis = NodeInference.Axis(n.Node.Int("axis", 0), shape.Count);
        var lengths = SplitLengths(n, shape[axis]);
        var start = 0;
        for (var i = 0; i < n.OutputCount; i++)
        {
            IEnumerable<Dim>? elements = null;
            if (n.Elements(0) is { } all && lengths[i].Value is >= 0 and <= NodeInference.MostElements and var length)
            {
                elements = all.Skip(start).Take((int)length).ToArray();
                start += (int)length;
            }
            n.Set(i, n.ElementType(0), [.. shape.Select((d, a) => a == axis ? lengths[i] : d)], elements);
        }
    }

    private static IReadOnlyList<Dim> SplitLengths(NodeInference n, Dim whole)
    {
        var count = n.OutputCount;
        if (n.Node.Ints("split") is { } attribute && attribute.Count >= count)
            return [.. attribute.Select(Dim.Of)];
        if (n.Elements(1) is { } input && input.Count >= count)
            return input;
        if (n.Has(1) || !whole.IsKnown)
            return [.. Enumerable.Repeat(Dim.Unknown, count)];
        if (whole.Value is { } total)
        {
            var part = (total + count - 1) / count;
            return [.. Enumerable.Range(0, count).Select(i => Dim.Of(Math.Clamp(total - part * i, 0, part)))];
        }
        return [.. Enumerable.Repeat(whole.TryDivide(count, out var each) ? each : Dim.Unknown, count)];
    }

    private static void Slice(NodeInference n)
    {
        if (n.Shape(0) is not { } shape)
        {
            n.Set(0, n.ElementType(0), null);
            return;
        }
        var starts = n.Node.Ints("starts")?.Select(Dim.Of).ToArray() ?? n.ElementsOrUnknowns(1);
        var ends = n.Node.Ints("ends")?.Select(Dim.Of).ToArray() ?? n.ElementsOrUnknowns(2);
        if (starts is null || ends is null || starts.Count != ends.Count || (n.Has(3) && n.Constants(3) is null))
        {
            n.Set(0, n.ElementType(0), [.. shape.Select(_ => Dim.Unknown)]);
            return;
        }
        var axes = n.Axes(3) ?? [.. Enumerable.Range(0, starts.Count).Select(i => (long)i)];
        var steps = n.Has(4) ? n.ElementsOrUnknowns(4) : null;
        var result = shape.ToArray();
        IReadOnlyList<Dim>? elements = shape.Count == 1 ? n.Elements(0) : null;
        for (var i = 0; i < starts.Count; i++)
        {
            var axis = NodeInference.Axis(axes[i], shape.Count);
            var step = steps is null ? 1 : steps[i];
            result[axis] = SliceLength(shape[axis], starts[i], ends[i], step);
            if (elements is not null)
                elements = starts[i].Value is { } s && ends[i].Value is { } e && step.Value is { } by ? Cut(elements, s, e, by) : null;
        }
        n.Set(0, n.ElementType(0), result, elements);
    }

    private static Dim[] Cut(IReadOnlyList<Dim> elements, long start, long end, long step)
    {
        var (first, last) = Bounds(elements.Count, start, end, step);
        var cut = new List<Dim>();
        for (var i = first; step > 0 ? i < last : i > last; i += step)
            cut.Add(elements[(int)i]);
        return [.. cut];
    }

    /// <summary>Start and end as ONNX clamps them.</summary>
    private static (long Start, long End) Bounds(long length, long start, long end, long step)
    {
        if (step == 0)
            throw new ArgumentException("a step of 0");
        start = start < 0 ? start + length : start;
        end = end < 0 ? Math.Max(end, long.MinValue / 2) + length : end;
        return step > 0
            ? (Math.Clamp(start, 0, length), Math.Clamp(end, 0, length))
            : (Math.Clamp(start, 0, Math.Max(0, length - 1)), Math.Clamp(end, -1, Math.Max(0, length - 1)));
    }

    /// <summary>Length of a slice; a symbolic end is taken to lie inside the axis, a symbol to be at least 1.</summary>
    internal static Dim SliceLength(Dim length, Dim start, Dim end, Dim step)
    {
        const long Far = int.MaxValue;
        if (step.Value is not { } by || !start.IsKnown || !end.IsKnown)
            return Dim.Unknown;
        if (length.Value is { } whole && start.Value is { } s && end.Value is { } e)
        {
            var (first, last) = Bounds(whole, s, e, by);
            return by > 0 ? Math.Max(0, (last - first + by - 1) / by) : Math.Max(0, (first - last - by - 1) / -by);
        }
        if (by == -1)
            return end.Value <= -Far && (start.Is(-1) || start.Value >= Far) ? length : Dim.Unknown;
        if (by != 1)
            return start.Is(0) && end.Value >= Far && length.TryDivide(step, out var parts) ? parts : Dim.Unknown;
        var toEnd = end.Value >= Far || Dim.Same(end, length);
        if (start.Value is < 0)
            return start.Is(-1) && toEnd ? 1 : Dim.Unknown;
        if (toEnd)
            return start.Value is > 1 ? Dim.Unknown : length - start;
        if (end.Value is { } to)
            return to == 0 ? 0 : start.Is(0) && to == -1 ? length - 1 : start.Is(0) && to == 1 ? 1 : Dim.Unknown;
        return end - start;
    }

    private static void Pad(NodeInference n)
    {
        if (n.Shape(0) is not { } shape)
        {
            n.Set(0, n.ElementType(0), null);
            return;
        }
        var pads = n.Node.Ints("pads")?.Select(Dim.Of).ToArray() ?? n.Elements(1);
        var axes = n.Has(3) ? n.Constants(3) : [.. Enumerable.Range(0, shape.Count).Select(i => (long)i)];
        var result = shape.ToArray();
        for (var i = 0; i < (axes?.Count ?? shape.Count); i++)
        {
            var axis = axes is null ? i : NodeInference.Axis(axes[i], shape.Count);
            result[axis] = pads is null || axes is null ? Dim.Unknown : shape[axis] + pads[i] + pads[i + axes.Count];
        }
        n.Set(0, n.ElementType(0), result);
    }
}
