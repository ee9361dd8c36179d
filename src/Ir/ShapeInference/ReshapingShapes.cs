namespace SorsaOrt.Ir;

/// <summary>Operators that keep the elements and change the axes, and those that repeat elements.</summary>
internal static class ReshapingShapes
{
    public static void AddTo(ShapeRuleTable table) => table
        .Add(Reshape, "Reshape")
        .Add(Flatten, "Flatten")
        .Add(Transpose, "Transpose")
        .Add(Squeeze, "Squeeze")
        .Add(Unsqueeze, "Unsqueeze")
        .Add(Expand, "Expand")
        .Add(Tile, "Tile")
        .Add(DepthToSpaceRank, "DepthToSpace", "SpaceToDepth");

    private static void Reshape(NodeInference n)
    {
        if (n.ElementsOrUnknowns(1) is not { } target)
        {
            n.Set(0, n.ElementType(0), null);
            return;
        }
        var input = n.Shape(0);
        var shape = target.ToArray();
        for (var i = 0; i < shape.Length; i++)
        {
            if (shape[i].Is(0) && n.Node.Int("allowzero", 0) == 0)
                shape[i] = input is not null && i < input.Count ? input[i] : Dim.Unknown;
        }
        ResolveOpenLength(shape, input);
        n.Set(0, n.ElementType(0), shape, n.Elements(0));
    }

    /// <summary>One length that is −1 or unknown follows from the number of elements.</summary>
    private static void ResolveOpenLength(Dim[] shape, IReadOnlyList<Dim>? input)
    {
        var open = Enumerable.Range(0, shape.Length).Where(i => !shape[i].IsKnown || shape[i].Is(-1)).ToArray();
        foreach (var i in open)
            shape[i] = Dim.Unknown;
        if (open.Length != 1 || input is null)
            return;
        var (given, rest) = CancelCommon(input, [.. shape.Where((_, i) => i != open[0])]);
        if (given.TryDivide(rest, out var quotient))
            shape[open[0]] = quotient;
    }

    /// <summary>Products of both shapes without the axes they share, so that an unknown axis on both sides does no harm.</summary>
    private static (Dim Given, Dim Others) CancelCommon(IReadOnlyList<Dim> input, List<Dim> rest)
    {
        var given = new List<Dim>();
        foreach (var d in input)
        {
            var at = d.Is(0) ? -1 : rest.FindIndex(r => Dim.Same(r, d));
            if (at >= 0)
                rest.RemoveAt(at);
            else
                given.Add(d);
        }
        return (NodeInference.CountOf(given), NodeInference.CountOf(rest));
    }

    private static void Flatten(NodeInference n)
    {
        if (n.Shape(0) is not { } shape)
        {
            n.Set(0, n.ElementType(0), [Dim.Unknown, Dim.Unknown]);
            return;
        }
        var axis = n.Node.Int("axis", 1);
        if (axis < 0)
            axis += shape.Count;
        if (axis < 0 || axis > shape.Count)
            throw new ArgumentException($"axis {axis} of a tensor with {shape.Count} axes");
        n.Set(0, n.ElementType(0), [NodeInference.CountOf(shape.Take((int)axis)), NodeInference.CountOf(shape.Skip((int)axis))]);
    }

    private static void Transpose(NodeInference n)
    {
        var shape = n.Shape(0);
        var permutation = n.Node.Ints("perm");
        if (shape is null)
        {
            n.Set(0, n.ElementType(0), permutation is null ? null : [.. permutation.Select(_ => Dim.Unknown)]);
            return;
        }
        if (permutation is not null && !permutation.Order().SequenceEqual(Enumerable.Range(0, shape.Count).Select(i => (long)i)))
            throw new ArgumentException($"perm of a tensor with {shape.Count} axes");
        n.Set(0, n.ElementType(0), permutation is null ? [.. shape.Reverse()] : [.. permutation.Select(p => shape[(int)p])],
            shape.Count <= 1 ? n.Elements(0) : null);
    }

    private static void Squeeze(NodeInference n)
    {
        IReadOnlyList<Dim>? result = null;
        var given = n.Has(1) || n.Node.Ints("axes") is not null;
        if (n.Shape(0) is { } shape)
        {
            if (n.Axes(1) is { } axes)
            {
                var drop = axes.Select(a => NodeInference.Axis(a, shape.Count)).ToHashSet();
                result = [.. shape.Where((_, i) => !drop.Contains(i))];
            }
            else if (!given && shape.All(d => d.IsKnown))
            {
                result = [.. shape.Where(d => !d.Is(1))];
            }
        }
        n.Set(0, n.ElementType(0), result, n.Elements(0));
    }

    private static void Unsqueeze(NodeInference n)
    {
        List<Dim>? result = null;
        if (n.Shape(0) is { } shape && n.Axes(1) is { } axes)
        {
            var rank = shape.Count + axes.Count;
            var insert = axes.Select(a => NodeInference.Axis(a, rank)).ToHashSet();
            if (insert.Count != axes.Count)
                throw new ArgumentException("an axis is inserted twice");
            var next = 0;
            result = [.. Enumerable.Range(0, rank).Select(i => insert.Contains(i) ? 1 : shape[next++])];
        }
        n.Set(0, n.ElementType(0), result, n.Elements(0));
    }

    private static void Expand(NodeInference n)
    {
        var shape = n.ElementsOrUnknowns(1) is { } target ? NodeInference.Broadcast(n.Shape(0), target) : null;
        IEnumerable<Dim>? elements = n.Elements(0);
        if (elements is not null && shape is { Count: 1 } && shape[0].Value is >= 0 and <= NodeInference.MostElements and var count
            && n.Elements(0)!.Count == 1)
            elements = Enumerable.Repeat(n.Elements(0)![0], (int)count);
        n.Set(0, n.ElementType(0), shape, elements);
    }

    private static void Tile(NodeInference n)
    {
        var shape = n.Shape(0);
        var repeats = n.Elements(1);
        if (shape is not null && repeats is not null && repeats.Count != shape.Count)
            throw new ArgumentException("as many repeats as axes are needed");
        n.Set(0, n.ElementType(0), shape is null ? null : [.. shape.Select((d, i) => repeats is null ? Dim.Unknown : d * repeats[i])]);
    }

    private static void DepthToSpaceRank(NodeInference n) =>
        n.Set(0, n.ElementType(0), [Dim.Unknown, Dim.Unknown, Dim.Unknown, Dim.Unknown]);
}
