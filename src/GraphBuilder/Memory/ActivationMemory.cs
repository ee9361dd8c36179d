using SorsaOrt.Ir;

namespace SorsaOrt.GraphBuilder.Memory;

/// <summary>The memory that intermediate values of a graph take.</summary>
/// <param name="PeakBytes">The most at one time.</param>
/// <param name="ResidentBytes">What stays in memory after some runs: as much, and the gaps that the arena leaves between values of different sizes.</param>
/// <param name="PeakNode">The node that runs at the peak; null for an empty graph.</param>
/// <param name="UnknownValues">Values whose size could not be told, counted as nothing.</param>
public sealed record ActivationMemory(long PeakBytes, long ResidentBytes, Node? PeakNode, int UnknownValues)
{
    // The chunks that one run leaves decide where the next finds room.
    private const int Runs = 3;

    /// <summary>Plays runs of the graph through, as ONNX Runtime's allocation plan and arena have them.</summary>
    /// <remarks>Graph inputs, initializers and graph outputs are bound memory of others and not counted.</remarks>
    /// <param name="graph">A graph with shapes.</param>
    /// <param name="lengths">Lengths of its symbols.</param>
    public static ActivationMemory Of(Graph graph, BatchLengths lengths)
    {
        var order = ExecutionOrder.Of(graph);
        var bytes = BufferPlan.Of(graph, order).ToDictionary(b => b, b => lengths.BytesOf(b.First.Type) ?? 0);
        var (allocated, freed) = (bytes.Keys.ToLookup(b => b.From), bytes.Keys.ToLookup(b => b.To));
        var arena = new Arena();
        var (peak, peakNode) = (0L, (Node?)null);
        for (var run = 0; run < Runs; run++)
        {
            var live = 0L;
            var chunks = new Dictionary<PlannedBuffer, Arena.Chunk>();
            for (var step = 0; step < order.Count; step++)
            {
                foreach (var buffer in allocated[step])
                {
                    live += bytes[buffer];
                    chunks[buffer] = arena.Allocate(bytes[buffer]);
                }
                if (live > peak)
                    (peak, peakNode) = (live, order[step]);
                foreach (var buffer in freed[step])
                {
                    live -= bytes[buffer];
                    arena.Free(chunks[buffer]);
                }
            }
        }
        var outputs = graph.Outputs.ToHashSet();
        var unknown = order.SelectMany(n => n.Outputs).Count(o => o is not null && !outputs.Contains(o) && lengths.BytesOf(o.Type) is null);
        return new ActivationMemory(peak, arena.TouchedBytes, peakNode, unknown);
    }
}
