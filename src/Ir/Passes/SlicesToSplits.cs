namespace SorsaOrt.Ir.Passes;

/// <summary>Slices that cut one axis of a value into all its pieces become one Split: rotate-half of rotary embeddings, packed projections.</summary>
/// <remarks>
/// The gradient of a Split is a Concat; those of the slices would be a Pad each and a sum. Needs inferred shapes, constant bounds and the axis's length.
/// </remarks>
public static class SlicesToSplits
{
    /// <summary>Runs the pass on the main graph.</summary>
    /// <returns>Slices replaced.</returns>
    public static int Run(Graph graph)
    {
        var op = new OpBuilder(graph);
        var replaced = 0;
        var cuts = graph.Nodes.Select(Cut.Of).OfType<Cut>().GroupBy(c => (c.Node.Inputs[0]!, c.Axis)).ToArray();
        foreach (var pieces in cuts)
        {
            var inOrder = pieces.OrderBy(c => c.Start).ToArray();
            if (inOrder.Length < 2 || inOrder[0].Start != 0 || inOrder[^1].End != pieces.Key.Item1.Shape![pieces.Key.Axis].Value
                || inOrder.Zip(inOrder.Skip(1)).Any(p => p.First.End != p.Second.Start))
                continue;
            op.Scope = inOrder[0].Node.Name.Length > 0 ? inOrder[0].Node.Name : inOrder[0].Node.Output.Name;
            var parts = op.Split(pieces.Key.Item1, pieces.Key.Axis, [.. inOrder.Select(c => c.End - c.Start)]);
            foreach (var (cut, part) in inOrder.Zip(parts))
                replaced += graph.Substitute(cut.Node.Output, part) ? 1 : 0;
        }
        if (replaced > 0)
        {
            graph.RemoveUnused();
            graph.SortTopologically();
        }
        return replaced;
    }

    // A Slice of one axis of known length, with constant bounds and step 1; the axis counted from the front, the bounds within it.
    private sealed record Cut(Node Node, int Axis, long Start, long End)
    {
        public static Cut? Of(Node node)
        {
            if (!node.Is("Slice") || node.Inputs[0]?.Shape is not { } shape || Constant(node, 1) is not [var start] || Constant(node, 2) is not [var end]
                || Constant(node, 3) is not [var axis] || node.InputOrNull(4) is not null && Constant(node, 4) is not [1])
                return null;
            var fromFront = (int)(axis < 0 ? axis + shape.Count : axis);
            if (fromFront < 0 || fromFront >= shape.Count || shape[fromFront].Value is not { } length)
                return null;
            long Within(long bound) => Math.Clamp(bound < 0 ? bound + length : bound, 0, length);
            return Within(end) > Within(start) ? new Cut(node, fromFront, Within(start), Within(end)) : null;
        }

        private static IReadOnlyList<long>? Constant(Node node, int input) => node.InputOrNull(input)?.Constant?.ToInt64();
    }
}
