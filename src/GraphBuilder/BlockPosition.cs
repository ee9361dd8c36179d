using SorsaOrt.Ir;

namespace SorsaOrt.GraphBuilder;

/// <summary>Names Linears by their place in the transformer block, for exports that carry no names.</summary>
/// <remarks>
/// Attention is found at its Softmax, the MLP at its activation; from there walks that end at Linears tell
/// q, k, v, o and gate, up, down. The block's number is the count of attentions that its input depends on, whatever the order of the nodes.
/// </remarks>
internal sealed class BlockPosition
{
    private static readonly HashSet<string> Activations = ["Sigmoid", "QuickGelu", "Gelu", "FastGelu", "Relu", "Tanh"];

    // Linears by the value they give, and those that a node computes.
    private readonly Dictionary<Value, LinearSite> _results;
    private readonly ILookup<Node, LinearSite> _products;
    private readonly Dictionary<LinearSite, string> _roles = new(ReferenceEqualityComparer.Instance);
    private readonly HashSet<Node> _attentions = [];
    private readonly Dictionary<Value, int> _depths = [];

    /// <summary>Looks at the whole graph once, which must be sorted; <paramref name="linears"/> are what walks end at.</summary>
    public BlockPosition(Graph graph, IReadOnlyList<LinearSite> linears)
    {
        _results = linears.ToDictionary(l => l.Output);
        _products = linears.ToLookup(l => l.Node);
        foreach (var node in graph.Nodes)
        {
            if (node.Is("Softmax"))
                FromSoftmax(node);
            else if (Activations.Contains(node.OpType) && node.Inputs[0]!.Constant is null)
                FromActivation(node);
        }
        foreach (var output in graph.Outputs)
            Assign("lm_head", Before(output));
        foreach (var node in graph.Nodes)
        {
            var depth = Graph.ReadBy(node).Max(v => (int?)_depths.GetValueOrDefault(v)) ?? 0;
            foreach (var output in node.Outputs.OfType<Value>())
                _depths[output] = depth + (_attentions.Contains(node) ? 1 : 0);
        }
    }

    /// <summary>A module path such as <c>model.layers.3.mlp.gate_proj</c>, or null where the place tells nothing.</summary>
    public string? Describe(LinearSite linear)
    {
        if (!_roles.TryGetValue(linear, out var role))
            return null;
        if (role == "lm_head")
            return role;
        // Everything behind the attention of its own block depends on that one too.
        var layer = Math.Max(0, _depths[linear.Output] - (role is "q_proj" or "k_proj" or "v_proj" ? 0 : 1));
        return $"model.layers.{layer}.{(role is "gate_proj" or "up_proj" or "down_proj" ? "mlp" : "self_attn")}.{role}";
    }

    private void FromSoftmax(Node softmax)
    {
        var scores = Attended(softmax.Inputs[0]!, backward: true);
        var context = Attended(softmax.Output, backward: false);
        if (scores is null || context is null)
            return;
        _attentions.Add(softmax);
        Assign("q_proj", Before(scores.Inputs[0]!));
        Assign("k_proj", Before(scores.Inputs[1]!));
        Assign("v_proj", Before(context.Inputs[1]!));
        Assign("o_proj", After(context.Output));
    }

    private void FromActivation(Node activation)
    {
        var gate = Before(activation.Inputs[0]!).ToList();
        var down = After(activation.Output).ToList();
        if (gate.Count != 1 || down.Count != 1)
            return;
        Assign("gate_proj", gate);
        Assign("up_proj", Before(down[0].Input));
        Assign("down_proj", down);
    }

    // The first role found stays: up is whatever feeds down and is not the gate.
    private void Assign(string role, IEnumerable<LinearSite> linears)
    {
        foreach (var linear in linears)
            _roles.TryAdd(linear, role);
    }

    // The Linears that a value is made from, nearest first.
    private IEnumerable<LinearSite> Before(Value value) => Walk(value, backward: true, _ => false).Select(found => _results[found.Value!]);

    // The Linears that work on it.
    private IEnumerable<LinearSite> After(Value value) => Walk(value, backward: false, _products.Contains).SelectMany(found => _products[found.Node!]);

    // The product of activations next to a Softmax; a walk does not go past a Linear.
    private Node? Attended(Value value, bool backward) =>
        Walk(value, backward, n => _products.Contains(n) || n.OpType is "MatMul" or "FusedMatMul").Select(found => found.Node).FirstOrDefault(n => n is not null && !_products.Contains(n));

    // Results of Linears on the way back, and nodes for which isEnd holds, nearest first; the walk does not go past them.
    private IEnumerable<(Value? Value, Node? Node)> Walk(Value start, bool backward, Func<Node, bool> isEnd)
    {
        var seen = new HashSet<Node>();
        var values = new HashSet<Value> { start };
        var pending = new Queue<Value>([start]);
        while (pending.TryDequeue(out var value))
        {
            if (backward && _results.ContainsKey(value))
            {
                yield return (value, null);
                continue;
            }
            IEnumerable<Node> next = backward ? value.Producer is { } p ? [p] : [] : value.Uses.Select(u => u.Node);
            foreach (var node in next.Where(seen.Add))
            {
                if (isEnd(node))
                {
                    yield return (null, node);
                    continue;
                }
                foreach (var further in backward ? node.Inputs : node.Outputs)
                {
                    if (further is { Constant: null } && values.Add(further))
                        pending.Enqueue(further);
                }
            }
        }
    }
}
