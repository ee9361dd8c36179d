using SorsaOrt.Ir;

namespace SorsaOrt.GraphBuilder;

/// <summary>Names Linears by their place in the transformer block, for exports that carry no names.</summary>
/// <remarks>
/// Attention is found at its Softmax (or fused Attention), the MLP at its activation; from there walks that end at Linears tell
/// q, k, v, o and gate, up, down. The block's number is the count of Linears of that role before it in graph order.
/// </remarks>
internal sealed class BlockPosition
{
    private static readonly HashSet<string> Activations = ["Sigmoid", "QuickGelu", "Gelu", "FastGelu", "Relu", "Tanh"];

    private readonly HashSet<Node> _linears;
    private readonly Dictionary<Node, string> _roles = [];
    private readonly Dictionary<string, int> _counts = [];

    /// <summary>Looks at the whole graph once; <paramref name="linears"/> are the nodes that walks end at.</summary>
    public BlockPosition(Graph graph, IEnumerable<Node> linears)
    {
        _linears = [.. linears];
        foreach (var node in graph.Nodes)
        {
            if (node.Is("Softmax"))
                FromSoftmax(node);
            else if (node.Is("Attention"))
                FromFused(node);
            else if (Activations.Contains(node.OpType) && node.Inputs[0]!.Constant is null)
                FromActivation(node);
        }
        foreach (var output in graph.Outputs)
            Assign("lm_head", Before(output));
    }

    /// <summary>A module path such as <c>model.layers.3.mlp.gate_proj</c>, or null where the place tells nothing. Call in graph order.</summary>
    public string? Describe(Node linear)
    {
        if (!_roles.TryGetValue(linear, out var role))
            return null;
        if (role == "lm_head")
            return role;
        var layer = _counts[role] = _counts.GetValueOrDefault(role, -1) + 1;
        return $"model.layers.{layer}.{(role is "gate_proj" or "up_proj" or "down_proj" ? "mlp" : "self_attn")}.{role}";
    }

    private void FromSoftmax(Node softmax)
    {
        var scores = Products(softmax.Inputs[0]!, backward: true).FirstOrDefault();
        var context = Products(softmax.Output, backward: false).FirstOrDefault();
        if (scores is null || context is null)
            return;
        Assign("q_proj", Before(scores.Inputs[0]!));
        Assign("k_proj", Before(scores.Inputs[1]!));
        Assign("v_proj", Before(context.Inputs[1]!));
        Assign("o_proj", After(context.Output));
    }

    private void FromFused(Node attention)
    {
        string[] roles = ["q_proj", "k_proj", "v_proj"];
        for (var i = 0; i < roles.Length && i < attention.Inputs.Count; i++)
            Assign(roles[i], Before(attention.Inputs[i]!));
        Assign("o_proj", After(attention.Output));
    }

    private void FromActivation(Node activation)
    {
        var gate = Before(activation.Inputs[0]!).ToList();
        var down = After(activation.Output).ToList();
        if (gate.Count != 1 || down.Count != 1)
            return;
        Assign("gate_proj", gate);
        Assign("up_proj", Before(down[0].Inputs[0]!));
        Assign("down_proj", down);
    }

    // The first role found stays: up is whatever feeds down and is not the gate.
    private void Assign(string role, IEnumerable<Node> linears)
    {
        foreach (var linear in linears)
            _roles.TryAdd(linear, role);
    }

    private IEnumerable<Node> Before(Value value) => Walk(value, backward: true, _linears.Contains);

    private IEnumerable<Node> After(Value value) => Walk(value, backward: false, _linears.Contains);

    private IEnumerable<Node> Products(Value value, bool backward) =>
        Walk(value, backward, n => _linears.Contains(n) || n.OpType is "MatMul" or "FusedMatMul").Where(n => !_linears.Contains(n));

    // Nodes for which isEnd holds, nearest first; the walk does not go past them.
    private static IEnumerable<Node> Walk(Value start, bool backward, Func<Node, bool> isEnd)
    {
        var seen = new HashSet<Node>();
        var pending = new Queue<Value>([start]);
        while (pending.TryDequeue(out var value))
        {
            IEnumerable<Node> next = backward ? value.Producer is { } p ? [p] : [] : value.Uses.Select(u => u.Node);
            foreach (var node in next.Where(seen.Add))
            {
                if (isEnd(node))
                {
                    yield return node;
                    continue;
                }
                foreach (var further in backward ? node.Inputs : node.Outputs)
                {
                    if (further is { Constant: null })
                        pending.Enqueue(further);
                }
            }
        }
    }
}
