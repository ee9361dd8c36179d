using SorsaOrt.Ir;

namespace SorsaOrt.GraphBuilder.Memory;

/// <summary>The most bytes that intermediate values of a graph take at one time.</summary>
/// <param name="PeakBytes">That maximum.</param>
/// <param name="PeakNode">The node that runs then; null for an empty graph.</param>
/// <param name="UnknownValues">Values whose size could not be told, counted as nothing.</param>
public sealed record ActivationMemory(long PeakBytes, Node? PeakNode, int UnknownValues)
{
    // Kernels of ONNX Runtime's CPU provider whose output may lie where an input of the same size lay, if nothing reads that later.
    private static readonly HashSet<string> InPlace =
        ["Add", "Sub", "Mul", "Div", "Neg", "Exp", "Log", "Sqrt", "Reciprocal", "Sigmoid", "Tanh", "Relu", "Softmax", "LogSoftmax", "ScatterElements", "ScatterND"];

    // Kernels that only give the same bytes another shape.
    private static readonly HashSet<string> Views = ["Reshape", "Identity", "Squeeze", "Unsqueeze", "Flatten"];

    /// <summary>Walks through the graph in the order in which ONNX Runtime runs it, its arena off: a value is freed after its last use.</summary>
    /// <remarks>Graph inputs, initializers and graph outputs are bound memory of others and not counted.</remarks>
    /// <param name="graph">A graph with shapes.</param>
    /// <param name="lengths">Lengths of its symbols.</param>
    public static ActivationMemory Of(Graph graph, BatchLengths lengths)
    {
        var order = ExecutionOrder.Of(graph);
        var outputs = graph.Outputs.ToHashSet();
        var readers = new Dictionary<Value, int>();
        foreach (var value in order.SelectMany(Graph.ReadBy))
            readers[value] = readers.GetValueOrDefault(value) + 1;
        var buffers = new Dictionary<Value, Allocation>();
        var (live, peak, unknown) = (0L, 0L, 0);
        Node? peakNode = null;
        foreach (var node in order)
        {
            foreach (var output in node.Outputs.OfType<Value>().Where(o => !outputs.Contains(o)))
            {
                var bytes = lengths.BytesOf(output.Type);
                unknown += bytes is null ? 1 : 0;
                var buffer = Shared(node, output, bytes ?? 0, buffers, readers);
                if (buffer is null)
                {
                    buffer = new Allocation(bytes ?? 0);
                    live += buffer.Bytes;
                }
                buffers[output] = buffer;
                buffer.Readers += readers.GetValueOrDefault(output);
            }
            if (live > peak)
                (peak, peakNode) = (live, node);
            live -= Free(node, buffers);
        }
        return new ActivationMemory(peak, peakNode, unknown);
    }

    // The buffer of an input that the output takes over; null for one of its own.
    private static Allocation? Shared(Node node, Value output, long bytes, Dictionary<Value, Allocation> buffers, Dictionary<Value, int> readers)
    {
        if (node.Domain.Length > 0 || output != node.Outputs[0])
            return null;
        if (Views.Contains(node.OpType))
            return node.Inputs[0] is { } viewed ? buffers.GetValueOrDefault(viewed) ?? new Allocation(0) : null;
        if (!InPlace.Contains(node.OpType))
            return null;
        foreach (var input in node.Inputs.Take(2))
        {
            if (input is not null && buffers.TryGetValue(input, out var buffer) && buffer.Readers == 1 && readers[input] >= 1 && buffer.Bytes == bytes
                && input.ElementType == output.ElementType)
                return buffer;
        }
        return null;
    }

    private static long Free(Node node, Dictionary<Value, Allocation> buffers)
    {
        var freed = 0L;
        foreach (var value in Graph.ReadBy(node))
        {
            if (buffers.TryGetValue(value, out var buffer))
            {
                buffer.Readers--;
                freed += buffer.FreeIfUnread();
            }
        }
        foreach (var output in node.Outputs)
        {
            if (output is not null && buffers.TryGetValue(output, out var buffer))
                freed += buffer.FreeIfUnread();
        }
        return freed;
    }

    private sealed class Allocation(long bytes)
    {
        public long Bytes { get; private set; } = bytes;

        public int Readers { get; set; }

        public long FreeIfUnread()
        {
            var freed = Readers == 0 ? Bytes : 0;
            Bytes -= freed;
            return freed;
        }
    }
}
