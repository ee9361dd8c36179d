using SorsaOrt.Ir;

namespace SorsaOrt.GraphBuilder;

/// <summary>Finds the Linears of a graph by structure and names them by what the exporter left, or by their place.</summary>
public static class LinearSites
{
    /// <summary>
    /// Every product whose right side leads, through Transpose, Cast, Identity and DequantizeLinear only, to a stored rank-2 tensor,
    /// in graph order; one whose outputs are split gives a Linear for each part.
    /// </summary>
    /// <remarks>Needs constants as initializers and inferred shapes. Source of the forms: the exports of optimum, TorchScript, dynamo and the ORT GenAI builder.</remarks>
    public static IReadOnlyList<LinearSite> Find(Graph graph)
    {
        var views = graph.Initializers.ToLookup(v => v.StoredName, StringComparer.Ordinal);
        var matches = Products(graph).Select(p => p with { OtherViews = [.. views[p.WeightName].Where(v => v != p.Weight)] }).SelectMany(Parts).ToList();
        var position = new BlockPosition(graph, matches);
        var sites = new List<LinearSite>();
        var names = new Dictionary<string, int>(StringComparer.Ordinal);
        foreach (var match in matches)
        {
            var module = ModuleNames.Of(match, position.Describe(match)) ?? $"linear.{sites.Count}";
            if (names.TryGetValue(module, out var seen))
                module = $"{module}.{names[module] = seen + 1}";
            else
                names[module] = 0;
            sites.Add(match with { Module = module, Role = module[(module.LastIndexOf('.') + 1)..] });
        }
        return sites;
    }

    /// <summary>The products themselves, not yet named, packed ones whole.</summary>
    internal static IEnumerable<LinearSite> Products(Graph graph) => graph.Nodes.Select(Match).OfType<LinearSite>();

    private static IEnumerable<LinearSite> Parts(LinearSite product)
    {
        if (PackedProducts.SplitOf(product.Node.Output) is not { } split)
        {
            yield return product;
            yield break;
        }
        var start = 0;
        foreach (var part in split.Outputs)
        {
            var width = checked((int)part!.Shape![^1].Value!.Value);
            yield return product with { Out = width, SliceStart = start, Output = part };
            start += width;
        }
    }

    private static LinearSite? Match(Node node)
    {
        var (isProduct, transB) = node switch
        {
            _ when node.Is("MatMul") => (true, false),
            _ when node.Is("Gemm") => (node.Int("transA", 0) == 0 && node.Float("alpha", 1) == 1 && node.Float("beta", 1) == 1, node.Int("transB", 0) != 0),
            _ when node.Is("FusedMatMul", "com.microsoft") => (node.Int("transA", 0) == 0 && node.Float("alpha", 1) == 1
                && node.Int("transBatchA", 0) == 0 && node.Int("transBatchB", 0) == 0, node.Int("transB", 0) != 0),
            _ => (false, false),
        };
        if (!isProduct || node.Inputs[0] is not { Constant: null } || node.Inputs[1] is not { } right)
            return null;
        Node? dequantize = null;
        while (right.Producer is { } producer && right.Constant is null)
        {
            if (producer.Is("DequantizeLinear") && QuantizedWeight.Of(producer) is not null)
                dequantize = producer;
            else if (producer.Is("Transpose") && producer.Inputs[0]?.Shape?.Count == 2)
                transB ^= producer.Ints("perm") is not { } p || p[0] == 1;
            else if (!producer.Is("Cast") && !producer.Is("Identity"))
                return null;
            right = producer.Inputs[0]!;
        }
        if (right.Constant is not { Shape.Count: 2 } weight || dequantize is null && !weight.ElementType.IsFloat())
            return null;
        var (rows, columns) = (checked((int)weight.Shape[0]), checked((int)weight.Shape[1]));
        return transB ? new LinearSite("", "", node, right, false, columns, rows) { Dequantize = dequantize } : new LinearSite("", "", node, right, true, rows, columns) { Dequantize = dequantize };
    }
}
