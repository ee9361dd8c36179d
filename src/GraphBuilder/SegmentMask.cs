using SorsaOrt.Ir;

namespace SorsaOrt.GraphBuilder;

/// <summary>Makes attention stay inside segments: several samples can then share a row.</summary>
/// <remarks>
/// attention_mask may hold segment numbers: 0 padding, 1, 2, … the samples of a row. The model's own mask still sees 0 and 1, so all it says (causal,
/// padding, a sliding window) stays; on top of it, token i sees token j only where both have the same number. The narrowed mask [batch, 1, sequence, sequence]
/// is made once and read by every layer. Padding sees all that the model lets it see: no row of a softmax is ever masked as a whole. A row of
/// ones gives the same numbers as before. Rotary positions are relative, so a model that counts positions itself needs no restart at a sample's
/// beginning; where position_ids is an input it gets one.
/// </remarks>
public sealed class SegmentMask
{
    private const string AttentionMask = "attention_mask";
    private const int LongestWalk = 8;

    private readonly OpBuilder _op;
    private readonly Value _segments;
    private readonly HashSet<Value> _data;
    private readonly Dictionary<int, Value> _allowed = [];
    private readonly Dictionary<(int Rank, ElementType Type), Value> _biases = [];
    private readonly Dictionary<(Value Mask, string OpType), Value> _narrowed = [];

    private SegmentMask(OpBuilder op, Value segments, HashSet<Value> data) => (_op, _segments, _data) = (op, segments, data);

    /// <summary>Rewrites every attention of a prepared model.</summary>
    /// <returns>
    /// Attentions rewritten; 0: fewer were recognised than the model has layers, and nothing changed, since one left as it was would let samples see each other.
    /// </returns>
    public static int Apply(PreparedModel model)
    {
        ArgumentNullException.ThrowIfNull(model);
        var graph = model.Model.Graph;
        var op = model.Builder;
        var attentions = graph.Nodes.Where(IsAttention).ToList();
        if (attentions.Count < model.Layers)
            return 0;
        op.Scope = "sorsa/segments";
        var data = DependingOn(graph, model.Tokens);
        var segments = graph.Inputs.FirstOrDefault(i => i.Name == AttentionMask);
        if (segments is null)
        {
            segments = graph.AddInput(AttentionMask, new TensorType(ElementType.Int64, [TokenInputs.Batch, TokenInputs.Sequence]));
        }
        else
        {
            var uses = segments.Uses.ToArray();
            var zeroOrOne = op.Emit("Min", [segments, op.Constant(InMemoryTensor.Scalar(ElementType.Int64, 1))]);
            foreach (var use in uses)
                use.Node.SetInput(use.InputIndex, zeroOrOne);
        }
        var pass = new SegmentMask(op, segments, data);
        foreach (var softmax in attentions)
            pass.Narrow(softmax);
        graph.RemoveUnused();
        graph.SortTopologically();
        return attentions.Count;
    }

    /// <summary>A softmax over the keys of [batch, …, queries, keys]: its last axis is no fixed length, as classes or experts would be.</summary>
    private static bool IsAttention(Node node) => node.Is("Softmax") && node.Inputs[0]?.Shape is { Count: >= 4 } shape
        && node.Int("axis", -1) is var axis && (axis == -1 || axis == shape.Count - 1) && shape[^1].Value is null && shape[^2].Value is null;

    /// <summary>Values that depend on what the tokens are, not only on how many there are.</summary>
    private static HashSet<Value> DependingOn(Graph graph, Value tokens)
    {
        var data = new HashSet<Value> { tokens };
        foreach (var node in graph.Nodes.Where(n => !n.Is("Shape") && n.Inputs.Any(i => i is not null && data.Contains(i))))
            data.UnionWith(node.Outputs.OfType<Value>());
        return data;
    }

    /// <summary>Narrows the mask that the model adds or chooses by; where none is recognised, adds one in front of the softmax.</summary>
    private void Narrow(Node softmax)
    {
        var scores = softmax.Inputs[0]!;
        var value = scores;
        for (int step = 0; step < LongestWalk && value.Producer is { } node; step++)
        {
            // Heads that share keys are stacked on the query axis behind the mask: [batch, heads, group, queries, keys] becomes [batch, heads, group·queries, keys].
            if (node.Is("Cast") || node.Is("Identity") || node.Is("Reshape"))
            {
                value = node.Inputs[0]!;
                continue;
            }
            if (value.Shape is { } shape && NarrowAt(node, shape.Count))
                return;
            if (!node.Is("Add") || node.Inputs.Count(i => _data.Contains(i!)) != 1)
                break;
            value = node.Inputs.First(i => _data.Contains(i!))!;
        }
        softmax.SetInput(0, _op.Add(scores, Bias(scores.Shape!.Count, scores.ElementType)));
    }

    private bool NarrowAt(Node node, int rank)
    {
        if (node.Is("Add"))
        {
            for (int i = 0; i < 2; i++)
            {
                if (!IsMask(node.Inputs[i]!) || !_data.Contains(node.Inputs[1 - i]!))
                    continue;
                node.SetInput(i, Narrowed(node.Inputs[i]!, "Min", mask => _op.Emit("Min", [mask, Bias(rank, mask.ElementType)])));
                return true;
            }
            return false;
        }
        if (!node.Is("Where") || !IsMask(node.Inputs[0]!) || _data.Contains(node.Inputs[1]!) == _data.Contains(node.Inputs[2]!))
            return false;
        node.SetInput(0, _data.Contains(node.Inputs[1]!)
            ? Narrowed(node.Inputs[0]!, "And", mask => _op.Emit("And", [mask, Allowed(rank)]))
            : Narrowed(node.Inputs[0]!, "Or", mask => _op.Emit("Or", [mask, _op.Unary("Not", Allowed(rank))])));
        return true;
    }

    /// <summary>[…, queries, keys], the same whatever the tokens are.</summary>
    private bool IsMask(Value value) => !_data.Contains(value) && value.Shape is { Count: >= 2 } shape && shape[^1].Value is null && shape[^2].Value is null;

    private Value Narrowed(Value mask, string opType, Func<Value, Value> make)
    {
        if (!_narrowed.TryGetValue((mask, opType), out var narrowed))
            _narrowed[(mask, opType)] = narrowed = make(mask);
        return narrowed;
    }

    private Value Bias(int rank, ElementType type)
    {
        if (!_biases.TryGetValue((rank, type), out var bias))
        {
            double lowest = type switch
            {
                ElementType.Float16 => -65504,
                ElementType.Float64 => -double.MaxValue,
                _ => -3.3895313892515355e38,   // the lowest of bfloat16, near that of float32
            };
            _biases[(rank, type)] = bias = _op.Where(Allowed(rank), _op.Constant(InMemoryTensor.Scalar(type, 0)), _op.Constant(InMemoryTensor.Scalar(type, lowest)));
        }
        return bias;
    }

    /// <summary>Whether query i may see key j [batch, 1, …, queries, keys].</summary>
    private Value Allowed(int rank)
    {
        if (_allowed.TryGetValue(rank, out var allowed))
            return allowed;
        long[] heads = [.. Enumerable.Range(1, rank - 3).Select(i => (long)i)];
        var queries = _op.Unsqueeze(_segments, [.. heads, rank - 1]);
        var keys = _op.Unsqueeze(_segments, [.. heads, rank - 2]);
        var padding = _op.Emit("Equal", [queries, _op.Constant(InMemoryTensor.Scalar(ElementType.Int64, 0))]);
        return _allowed[rank] = _op.Emit("Or", [_op.Emit("Equal", [queries, keys]), padding]);
    }
}
