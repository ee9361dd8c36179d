using SorsaOrt.Ir;

namespace SorsaOrt.GraphBuilder;

/// <summary>What is trained at one site: its parameters as graph inputs.</summary>
/// <param name="Site">The Linear.</param>
/// <param name="Rank">Adapter rank r; 0 for <see cref="AdapterMethod.Full"/>.</param>
/// <param name="A">[r, in], or null.</param>
/// <param name="S">[r], or null.</param>
/// <param name="B">[out, r], or null.</param>
/// <param name="Weight">[out, in] for full fine-tuning, or null.</param>
public sealed record SiteParameters(LinearSite Site, int Rank, Value? A, Value? S, Value? B, Value? Weight)
{
    /// <summary>The parameters in the order of the flat buffer: A, S, B.</summary>
    public IEnumerable<Value> All => new[] { A, S, B, Weight }.OfType<Value>();
}

/// <summary>Rewrites every Linear of a graph as matrix products over rows of tokens, the targeted ones with their adapters.</summary>
/// <remarks>
/// y = x·Wrᵀ + scale·((x·Aᵀ) ∘ S)·Bᵀ, as Gemm nodes: the product B·diag(S)·A is never formed, the sum is the addend of the
/// last Gemm, and a weight stored either way round is multiplied without a transposed copy. Linears that read the same value (q, k, v;
/// gate, up) have their A stacked: one product [tokens, in]·[in, n·r] instead of n narrow ones, here and in both gradients.
/// Where the frozen weight stays W as it is stored, what the adapter starts with is subtracted beside it: x·Wrᵀ = x·Wᵀ − scale·(x·A₀ᵀ)·(B₀·diag(S₀))ᵀ.
/// </remarks>
public sealed class AdaptedGraph
{
    private readonly Graph _graph;
    private readonly OpBuilder _op;
    private readonly Value _tokens;
    private readonly Dictionary<Value, Value> _rows = [];
    private readonly Dictionary<long, Value> _shapes = [];
    private readonly Dictionary<Node, IReadOnlyList<Value>> _packed = [];

    /// <summary>For a graph whose token ids are <paramref name="tokens"/> [batch, sequence].</summary>
    public AdaptedGraph(Graph graph, OpBuilder op, Value tokens) => (_graph, _op, _tokens) = (graph, op, tokens);

    /// <summary>Inserts the whole weight of <paramref name="site"/> as its parameter.</summary>
    public SiteParameters AdaptFully(LinearSite site)
    {
        _op.Scope = "sorsa/" + site.Module;
        var weight = Parameter(site.Module + ".weight", site.Out, site.In);
        Replace(site, _op.Gemm(Rows(site.Input), weight, AddendOf(site), transB: true));
        return new SiteParameters(site, 0, null, null, null, weight);
    }

    /// <summary>Inserts parameters and adapters at Linears that read the same value, and returns them.</summary>
    /// <param name="sites">Linears of this graph.</param>
    /// <param name="hasS">Whether there is an S between A and B.</param>
    /// <param name="rank">Rank r, at most min(in, out) of each.</param>
    /// <param name="scale">Factor of the adapter path: alpha / r, or 1.</param>
    public IReadOnlyList<SiteParameters> Adapt(IReadOnlyList<LinearSite> sites, bool hasS, int rank, float scale)
    {
        var parameters = sites.Select(site => new SiteParameters(site, rank,
            Parameter(site.Module + ".A", rank, site.In),
            hasS ? Parameter(site.Module + ".S", rank) : null,
            Parameter(site.Module + ".B", site.Out, rank), null)).ToArray();
        _op.Scope = "sorsa/" + sites[0].Module;
        var x = Rows(sites[0].Input);
        var narrow = _op.Gemm(x, Stacked(parameters.Select(p => p.A!)), transB: true);
        if (hasS)
            narrow = _op.Mul(narrow, Stacked(parameters.Select(p => p.S!)));
        var parts = sites.Count == 1 ? [narrow] : _op.Split(narrow, 1, [.. Enumerable.Repeat((long)rank, sites.Count)]);
        for (var i = 0; i < sites.Count; i++)
        {
            _op.Scope = "sorsa/" + sites[i].Module;
            Replace(sites[i], _op.Gemm(parts[i], parameters[i].B!, WithoutStart(sites[i], x, FrozenProduct(sites[i], x), scale), transB: true, alpha: scale));
        }
        return parameters;
    }

    /// <summary>Rewrites a Linear that is not trained.</summary>
    public void Keep(LinearSite site)
    {
        _op.Scope = "sorsa/" + site.Module;
        Replace(site, FrozenProduct(site, Rows(site.Input)));
    }

    /// <summary>[..., n] as [tokens, n].</summary>
    public Value Rows(Value x)
    {
        if (x.Shape is not { } shape || shape[^1].Value is not { } last)
            throw new UnsupportedGraphException($"the shape of '{x.Name}', the input of a Linear, could not be inferred ({x.Type})");
        if (shape.Count == 2)
            return x;
        if (!_rows.TryGetValue(x, out var rows))
            _rows[x] = rows = _op.Reshape(x, -1, last);
        return rows;
    }

    // A packed weight is multiplied once for all its Linears.
    private Value FrozenProduct(LinearSite site, Value x)
    {
        if (FrozenResidual.Find(_graph, _op, site) is { } residual)
            return _op.Gemm(x, residual, AddendOf(site), transB: true);
        if (site.SliceStart is null)
            return WholeProduct(site, x);
        var split = site.Output.Producer!;
        if (!_packed.TryGetValue(site.Node, out var parts))
            _packed[site.Node] = parts = _op.Split(WholeProduct(site, x), 1, [.. split.Outputs.Select(o => o!.Shape![^1].Value!.Value)]);
        return parts[split.Outputs.ToList().IndexOf(site.Output)];
    }

    private Value WholeProduct(LinearSite site, Value x) => _op.Gemm(x, _op.Cast(site.Floats, x.ElementType), site.Addend, transB: !site.Transposed);

    private Value WithoutStart(LinearSite site, Value x, Value frozen, float scale) =>
        _graph.FindInitializer(FrozenResidual.StartA(site)) is { } a && _graph.FindInitializer(FrozenResidual.StartB(site)) is { } b
            ? _op.Gemm(_op.Gemm(x, a, transB: true), b, frozen, transB: true, alpha: -scale) : frozen;

    private Value? AddendOf(LinearSite site) => site is { Addend: { Shape: { } shape } addend, SliceStart: { } start }
        ? _op.Slice(addend, shape.Count - 1, start, start + site.Out) : site.Addend;

    private Value Stacked(IEnumerable<Value> parts) => parts.ToArray() is var all && all.Length == 1 ? all[0] : _op.Concat(0, all);

    private Value Parameter(string name, params long[] shape)
    {
        _graph.Vacate(name);
        return _graph.AddInput(name, new TensorType(ElementType.Float32, [.. shape.Select(Dim.Of)]));
    }

    private void Replace(LinearSite site, Value rows)
    {
        var old = site.Output;
        if (old.ElementType != ElementType.Float32)
            throw new UnsupportedGraphException($"'{site.Module}' computes in {old.ElementType.ShortName()}; only f32, f16 and bf16 models can be trained "
                + $"(node '{site.Node.Name}')");
        var result = old.Shape!.Count == 2 ? rows : _op.Reshape(rows, ShapeWithLast(site));
        result.Type = old.Type;
        old.ReplaceAllUsesWith(result, _graph);
        if (site.SliceStart is null)
            _graph.RemoveNodes(new HashSet<Node> { site.Node });
    }

    // [batch, sequence, out]: the same for every Linear of that width, so that the lengths are computed once a step.
    private Value ShapeWithLast(LinearSite site)
    {
        var shape = site.Input.Shape!;
        if (shape.Count == 3 && Dim.Same(shape[0], TokenInputs.Batch) && Dim.Same(shape[1], TokenInputs.Sequence))
        {
            if (!_shapes.TryGetValue(site.Out, out var known))
                _shapes[site.Out] = known = _op.Concat(0, _op.ShapeOf(_tokens), _op.Integers(site.Out));
            return known;
        }
        return _op.Concat(0, _op.Slice(_op.ShapeOf(site.Input), 0, 0, shape.Count - 1), _op.Integers(site.Out));
    }
}
