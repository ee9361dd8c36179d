using SorsaOrt.Ir;

namespace SorsaOrt.GraphBuilder.Memory;

/// <summary>Memory for one value after another in ONNX Runtime's allocation plan.</summary>
internal sealed class PlannedBuffer(Value first, int from)
{
    /// <summary>The value it is allocated for.</summary>
    public Value First { get; } = first;

    /// <summary>Place in the order of the node that makes <see cref="First"/>.</summary>
    public int From { get; } = from;

    /// <summary>Place of the node after which it is freed.</summary>
    public int To { get; set; } = from;

    /// <summary>Reads that are still to come of the values it holds.</summary>
    public int Uses { get; set; }
}

/// <summary>ONNX Runtime's allocation plan for the intermediate values of a graph.</summary>
/// <remarks>
/// An output lies where an input lay that nothing reads later, if its kernel can compute in place; else where a dead value of the same element size and the same dimensions,
/// by their names, lay, the last one that died; else in memory of its own. So a buffer is not freed when its value dies but when no later value wants it, and waits in between.
/// Source: PlannerImpl of onnxruntime/core/framework/allocation_planner.cc and the kernels' MayInplace and Alias.
/// </remarks>
internal sealed class BufferPlan
{
    // Kernels of the CPU provider whose output may lie where their first input lay. Those of arithmetic (Add, Mul, Exp and their like) are not among them.
    private static readonly HashSet<string> InPlace = ["Sigmoid", "Tanh", "Relu", "Softmax", "LogSoftmax", "ScatterElements", "ScatterND"];

    // Kernels that only give the same bytes another shape.
    private static readonly HashSet<string> Views = ["Reshape", "Identity", "Squeeze", "Unsqueeze", "Flatten"];

    private readonly Dictionary<Value, PlannedBuffer> _buffers = [];
    private readonly Dictionary<string, Stack<PlannedBuffer>> _dead = new(StringComparer.Ordinal);
    private readonly Dictionary<Value, int> _readers = [];
    private readonly List<PlannedBuffer> _all = [];

    private BufferPlan() { }

    /// <summary>The buffers in the order in which they are allocated. Graph inputs, initializers and graph outputs have none.</summary>
    public static IReadOnlyList<PlannedBuffer> Of(Graph graph, IReadOnlyList<Node> order)
    {
        var plan = new BufferPlan();
        foreach (var value in order.SelectMany(Graph.ReadBy))
            plan._readers[value] = plan._readers.GetValueOrDefault(value) + 1;
        var outputs = graph.Outputs.ToHashSet();
        for (var step = 0; step < order.Count; step++)
            plan.Run(order[step], step, outputs);
        return plan._all;
    }

    private void Run(Node node, int step, HashSet<Value> outputs)
    {
        var made = node.Outputs.OfType<Value>().Where(o => !outputs.Contains(o)).ToList();
        foreach (var output in made)
        {
            if (IsView(node, output))
            {
                if (node.Inputs[0] is { } viewed && _buffers.TryGetValue(viewed, out var shown))
                    Give(shown, output);
                continue;
            }
            Give(TakenOver(node, output) ?? Dead(output) ?? New(output, step), output);
        }
        foreach (var read in Graph.ReadBy(node).Concat(made))
        {
            if (!_buffers.TryGetValue(read, out var buffer) || --buffer.Uses > 0)
                continue;
            buffer.To = step;
            if (Kind(buffer.First) is { } kind)
                (_dead.TryGetValue(kind, out var dead) ? dead : _dead[kind] = new Stack<PlannedBuffer>()).Push(buffer);
        }
    }

    // Besides its readers, the node that makes a value holds it.
    private void Give(PlannedBuffer buffer, Value value)
    {
        _buffers[value] = buffer;
        buffer.Uses += _readers.GetValueOrDefault(value) + 1;
    }

    private PlannedBuffer New(Value value, int step)
    {
        var buffer = new PlannedBuffer(value, step);
        _all.Add(buffer);
        return buffer;
    }

    private PlannedBuffer? TakenOver(Node node, Value output) => node.Domain.Length == 0 && output == node.Outputs[0] && InPlace.Contains(node.OpType)
        && node.Inputs[0] is { } input && Kind(input) is { } kind && kind == Kind(output) && _buffers.TryGetValue(input, out var buffer) && buffer.Uses == 1 ? buffer : null;

    private PlannedBuffer? Dead(Value output) => Kind(output) is { } kind && _dead.TryGetValue(kind, out var dead) && dead.TryPop(out var buffer) ? buffer : null;

    private static bool IsView(Node node, Value output) => node.Domain.Length == 0 && output == node.Outputs[0] && Views.Contains(node.OpType);

    // Values of one kind can lie in the same place; null for those of unknown shape, and for scalars, which are not worth it.
    private static string? Kind(Value value) => value.Shape is { Count: > 0 } shape && shape.All(d => d.IsKnown) ? $"{value.ElementType.BitSize()} {string.Join(',', shape)}" : null;
}
