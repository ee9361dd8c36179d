using SorsaOrt.Ir;

namespace SorsaOrt.Autodiff;

/// <summary>Reverse-mode differentiation of a graph: appends the nodes that compute the gradients of a loss.</summary>
/// <remarks>
/// Only nodes on a path from a wanted parameter to the loss are differentiated. Contributions to one value are added in the
/// reverse order of the nodes; broadcast axes are summed here, once for all rules. See docs/gradients.md.
/// </remarks>
public sealed class ReverseMode
{
    private readonly GradientTable _table;
    private readonly GradientPath _path;
    private readonly GradientContext _context;
    private readonly OpBuilder _op;
    private readonly Dictionary<Value, Value> _sums = [];

    private ReverseMode(Graph graph, Value loss, GradientTable table, GradientPath path)
    {
        _table = table;
        _path = path;
        _op = new OpBuilder(graph) { Scope = "gradient" };
        _context = new GradientContext(_op, path, loss, _sums);
    }

    /// <summary>Appends the gradients of <paramref name="loss"/> with respect to <paramref name="parameters"/> to <paramref name="graph"/>.</summary>
    /// <param name="graph">The forward graph in opset <see cref="OpBuilder.WorkingOpset"/>, shapes inferred; it is sorted first.</param>
    /// <param name="loss">The value to differentiate; one element, unless <paramref name="seed"/> is given.</param>
    /// <param name="parameters">Float values of the graph; each must reach the loss.</param>
    /// <param name="seed">Gradient of the loss itself, in its shape: dLoss, 1 when null.</param>
    /// <param name="table">The rules; <see cref="GradientTable.Standard"/> when null.</param>
    /// <returns>Each parameter with its gradient, in the order given. They are not yet outputs of the graph.</returns>
    /// <exception cref="UnsupportedGraphException">Nodes without a rule (all are named), or a parameter that does not reach the loss.</exception>
    public static TrainingGraph Differentiate(
        Graph graph, Value loss, IReadOnlyList<Value> parameters, Value? seed = null, GradientTable? table = null)
    {
        graph.SortTopologically();
        table ??= GradientTable.Standard();
        var path = GradientPath.Find(graph, loss, parameters, table);
        var reverse = new ReverseMode(graph, loss, table, path);
        reverse._sums[loss] = seed ?? reverse.One(loss);
        for (var i = path.Nodes.Count - 1; i >= 0; i--)
            reverse.Differentiate(path.Nodes[i], parameters);
        return new TrainingGraph(graph, loss, [.. parameters.Select(p => new ParameterGradient(p, reverse._sums[p]))]);
    }

    /// <summary>Nodes of a sorted graph between <paramref name="from"/> and <paramref name="end"/> that have no gradient rule, in order of the graph.</summary>
    public static IReadOnlyList<Node> WithoutRule(Graph graph, Value end, IReadOnlyList<Value> from, GradientTable? table = null)
    {
        table ??= GradientTable.Standard();
        return [.. GradientPath.Between(graph, end, from, table).Nodes.Where(n => table.Find(n) is null)];
    }

    // Adds one node's share to the gradients of its inputs.
    private void Differentiate(Node node, IReadOnlyList<Value> parameters)
    {
        var dY = node.Outputs.Select(o => o is not null ? _sums.GetValueOrDefault(o) : null).ToArray();
        if (Array.TrueForAll(dY, d => d is null))
            return;
        // Gradients of intermediate values are done with, unless one was asked for.
        foreach (var output in node.Outputs)
        {
            if (output is not null && !parameters.Contains(output))
                _sums.Remove(output);
        }
        _op.Scope = "gradient/" + (node.Name.Length > 0 ? node.Name : node.OpType);
        var gradients = _table.Find(node)!(_context, node, dY);
        for (var i = 0; i < node.Inputs.Count; i++)
        {
            if (node.Inputs[i] is not { } input || !_path.Carries(input))
                continue;
            if (i >= gradients.Count || gradients[i] is not { } gradient)
                throw _context.Refusal(node, $"it is wanted for input {i}, '{input.Name}'", "keep parameters out of that input");
            if (ReferenceEquals(gradient, GradientContext.Absorbed))
                continue;
            gradient = SumToShape(gradient, input, node);
            _sums[input] = _sums.TryGetValue(input, out var sum) ? _op.Add(sum, gradient) : gradient;
        }
    }

    // Sums leading axes that the input does not have, and axes along which it has the constant length 1; narrow elements in float32.
    private Value SumToShape(Value gradient, Value input, Node node)
    {
        var (from, to) = (gradient.Shape, input.Shape);
        if (from is null || to is null)
            throw _context.Refusal(node, $"the shape of '{(to is null ? input : gradient).Name}' is not known", "give its shape in the model's value_info");
        var extra = from.Count - to.Count;
        long[] leading = [.. Enumerable.Range(0, Math.Max(extra, 0))];
        long[] broadcast = [.. Enumerable.Range(0, from.Count).Where(i => i >= extra && extra >= 0 && to[i - extra].Is(1) && !from[i].Is(1))];
        var type = gradient.ElementType;
        if (extra > 0 || broadcast.Length > 0)
            gradient = _op.Cast(gradient, type is ElementType.Float16 or ElementType.BFloat16 ? ElementType.Float32 : type);
        if (broadcast.Length > 0)
        {
            gradient = _op.ReduceSum(gradient, keepDims: true, [.. leading, .. broadcast]);
            gradient = extra > 0 ? _op.Squeeze(gradient, leading) : gradient;
        }
        else if (extra > 0)
        {
            gradient = _op.ReduceSum(gradient, keepDims: false, leading);
        }
        gradient = _op.Cast(gradient, type);
        Verify(gradient, input, node);
        return gradient;
    }

    // A rule that answers in another shape or type is a mistake of ours; better caught here than in a session.
    private static void Verify(Value gradient, Value input, Node node)
    {
        var (from, to) = (gradient.Shape!, input.Shape!);
        if (from.Count != to.Count || from.Zip(to).Any(d => d.First.Value is { } a && d.Second.Value is { } b && a != b)
            || (input.Type is { } type && gradient.ElementType != type.ElementType))
        {
            throw new InvalidOperationException($"The gradient rule of '{node.OpType}' ('{node.Name}') answers {gradient.Type} for '{input.Name}' {input.Type}.");
        }
        gradient.Type = input.Type;
    }

    private Value One(Value loss)
    {
        if (loss.Type?.StaticShape is not { } shape || shape.Any(n => n != 1))
        {
            throw new UnsupportedGraphException($"SORSA2006: the loss '{loss.Name}' {loss.Type} is not one number"
                + $"{Environment.NewLine}  do  reduce it to a scalar, or give the gradient of the loss as the seed");
        }
        return _op.Constant(InMemoryTensor.Scalar(loss.ElementType, 1, shape));
    }
}
