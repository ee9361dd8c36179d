namespace SorsaOrt.Ir;

/// <summary>Gathering, scattering, selection.</summary>
internal static class IndexingShapes
{
    public static void AddTo(ShapeRuleTable table) => table
        .Add(Gather, "Gather")
        .Add(n => n.Set(0, n.ElementType(0), n.Shape(1)), "GatherElements")
        .Add(GatherND, "GatherND")
        .Add(n => n.Set(0, n.ElementType(0), n.Shape(0)), "ScatterND", "ScatterElements", "Scatter", "ReverseSequence")
        .Add(OneHot, "OneHot")
        .Add(TopK, "TopK")
        .Add(n => n.Set(0, ElementType.Int64, [n.Shape(0)?.Count is { } rank ? rank : Dim.Unknown, Dim.Unknown]), "NonZero")
        .Add(n => n.Set(0, n.ElementType(0), n.Shape(0) is { } s && n.Node.Attributes.ContainsKey("axis")
            ? [.. s.Select((d, i) => i == NodeInference.Axis(n.Node.Int("axis", 0), s.Count) ? Dim.Unknown : d)] : [Dim.Unknown]), "Compress")
        .AddMicrosoft(GatherBlockQuantized, "GatherBlockQuantized");

    /// <summary>data [a…, n, b…], indices [i…]: [a…, i…, b…].</summary>
    private static void Gather(NodeInference n)
    {
        IReadOnlyList<Dim>? elements = null;
        if (n.Elements(0) is { } contents && n.Shape(0) is { Count: 1 } && n.Constants(1) is { } at && n.Shape(1) is { Count: <= 1 })
            elements = [.. at.Select(i => contents[NodeInference.Axis(i, contents.Count)])];
        n.Set(0, n.ElementType(0), Gathered(n.Shape(0), n.Shape(1), n.Node.Int("axis", 0)), elements);
    }

    private static IReadOnlyList<Dim>? Gathered(IReadOnlyList<Dim>? data, IReadOnlyList<Dim>? indices, long axis)
    {
        if (data is null || indices is null)
            return null;
        var at = NodeInference.Axis(axis, data.Count);
        return [.. data.Take(at), .. indices, .. data.Skip(at + 1)];
    }

    /// <summary>data [batch…, d…], indices [batch…, i…, k]: [batch…, i…, d after the first k].</summary>
    private static void GatherND(NodeInference n)
    {
        IReadOnlyList<Dim>? result = null;
        if (n.Shape(0) is { } data && n.Shape(1) is { Count: > 0 } indices && indices[^1].Value is { } k)
        {
            var skip = n.Node.Int("batch_dims", 0) + k;
            if (skip > data.Count)
                throw new ArgumentException($"indices of {k} coordinates into {data.Count} axes");
            result = [.. indices.Take(indices.Count - 1), .. data.Skip((int)skip)];
        }
        n.Set(0, n.ElementType(0), result);
    }

    private static void OneHot(NodeInference n)
    {
        IReadOnlyList<Dim>? result = null;
        if (n.Shape(0) is { } indices)
        {
            var axis = NodeInference.Axis(n.Node.Int("axis", -1), indices.Count + 1);
            var depth = n.Elements(1) is { Count: 1 } d ? d[0] : n.Node.InputOrNull(1)?.Constant?.ScalarValue is { } v ? (long)v : Dim.Unknown;
            result = [.. indices.Take(axis), depth, .. indices.Skip(axis)];
        }
        n.Set(0, n.ElementType(2), result);
    }

    private static void TopK(NodeInference n)
    {
        IReadOnlyList<Dim>? result = null;
        if (n.Shape(0) is { } shape)
        {
            var axis = NodeInference.Axis(n.Node.Int("axis", -1), shape.Count);
            var k = n.Elements(1) is { Count: 1 } e ? e[0] : n.Node.Attributes.ContainsKey("k") ? n.Node.Int("k", 0) : Dim.Unknown;
            result = [.. shape.Select((d, i) => i == axis ? k : d)];
        }
        n.Set(0, n.ElementType(0), result);
        n.Set(1, ElementType.Int64, result);
    }

    /// <summary>Gather from a table stored in blocks; bytes hold two 4-bit numbers on the last axis. The element type is that of the scales.</summary>
    private static void GatherBlockQuantized(NodeInference n)
    {
        var data = n.Shape(0)?.ToArray();
        var packed = n.ElementType(0) == ElementType.UInt8 ? 8 / n.Node.Int("bits", 4) : 1;
        if (data is { Length: > 0 })
            data[^1] *= packed;
        n.Set(0, n.ElementType(2), Gathered(data, n.Shape(1), n.Node.Int("gather_axis", 0)));
    }
}
