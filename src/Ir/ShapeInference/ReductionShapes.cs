namespace SorsaOrt.Ir;

/// <summary>Reductions over axes, normalisations and losses.</summary>
internal static class ReductionShapes
{
    public static void AddTo(ShapeRuleTable table) => table
        .Add(n => Reduce(n, null), "ReduceMean", "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceSumSquare")
        .Add(n => Reduce(n, e => NodeInference.CountOf(e)), "ReduceProd")
        .Add(n => Reduce(n, e => e.Aggregate(Dim.Of(0), (sum, d) => sum + d)), "ReduceSum")
        .Add(n => Reduce(n, e => NodeInference.AllConstant(e) is { Count: > 0 } c ? c.Max() : Dim.Unknown), "ReduceMax")
        .Add(n => Reduce(n, e => NodeInference.AllConstant(e) is { Count: > 0 } c ? c.Min() : Dim.Unknown), "ReduceMin")
        .Add(ArgReduce, "ArgMax", "ArgMin")
        .Add(LayerNormalization, "LayerNormalization", "SimplifiedLayerNormalization")
        .Add(n => n.Set(0, n.ElementType(0), n.Shape(0)), "RMSNormalization")
        .AddMicrosoft(SkipLayerNormalization, "SkipSimplifiedLayerNormalization", "SkipLayerNormalization")
        .Add(SoftmaxCrossEntropyLoss, "SoftmaxCrossEntropyLoss");

    private static void Reduce(NodeInference n, Func<IReadOnlyList<Dim>, Dim>? combine)
    {
        var elements = combine is not null && n.Elements(0) is { } contents && n.Shape(0) is { Count: 1 } ? [combine(contents)] : (Dim[]?)null;
        n.Set(0, n.ElementType(0), ReducedShape(n), elements);
    }

    private static IReadOnlyList<Dim>? ReducedShape(NodeInference n)
    {
        var keep = n.Node.Int("keepdims", 1) != 0;
        if (n.Shape(0) is not { } shape)
            return null;
        var given = n.Has(1) || n.Node.Ints("axes") is not null;
        var axes = n.Axes(1);
        if (given && axes is null)
            return keep ? [.. shape.Select(_ => Dim.Unknown)] : null;
        if (axes is null || axes.Count == 0)
        {
            if (n.Node.Int("noop_with_empty_axes", 0) != 0)
                return shape;
            axes = [.. Enumerable.Range(0, shape.Count).Select(i => (long)i)];
        }
        return Reduced(shape, [.. axes.Select(a => NodeInference.Axis(a, shape.Count))], keep);
    }

    private static List<Dim> Reduced(IReadOnlyList<Dim> shape, HashSet<int> axes, bool keep)
    {
        var result = new List<Dim>();
        for (var i = 0; i < shape.Count; i++)
        {
            if (!axes.Contains(i))
                result.Add(shape[i]);
            else if (keep)
                result.Add(1);
        }
        return result;
    }

    private static void ArgReduce(NodeInference n) => n.Set(0, ElementType.Int64, n.Shape(0) is { } shape
        ? Reduced(shape, [NodeInference.Axis(n.Node.Int("axis", 0), shape.Count)], n.Node.Int("keepdims", 1) != 0) : null);

    /// <summary>Y as X; mean and inverse deviation with length 1 from the axis on (the simplified form has only the latter).</summary>
    private static void LayerNormalization(NodeInference n)
    {
        var shape = n.Shape(0);
        n.Set(0, n.ElementType(0), shape);
        if (n.OutputCount < 2 || shape is null)
            return;
        var axis = NodeInference.Axis(n.Node.Int("axis", -1), shape.Count);
        var statistics = shape.Select((d, i) => i < axis ? d : 1).ToArray();
        var type = (ElementType)n.Node.Int("stash_type", (long)ElementType.Float32);
        n.Set(1, n.ElementType(0) == ElementType.Float64 ? ElementType.Float64 : type, statistics);
        n.Set(2, n.ElementType(0) == ElementType.Float64 ? ElementType.Float64 : type, statistics);
    }

    /// <summary>Output 0 the normalised sum, 1 and 2 statistics, 3 the sum itself.</summary>
    private static void SkipLayerNormalization(NodeInference n)
    {
        var shape = n.Shape(0);
        n.Set(0, n.ElementType(0), shape);
        n.Set(3, n.ElementType(0), shape);
        var statistics = shape is null ? null : shape.Take(shape.Count - 1).Append(1).ToArray();
        n.Set(1, ElementType.Float32, statistics);
        n.Set(2, ElementType.Float32, statistics);
    }

    private static void SoftmaxCrossEntropyLoss(NodeInference n)
    {
        n.Set(0, n.ElementType(0), n.Node.Text("reduction", "mean") == "none" ? n.Shape(1) : []);
        n.Set(1, n.ElementType(0), n.Shape(0));
    }
}
