using SorsaOrt.Ir;

namespace SorsaOrt.GraphBuilder;

/// <summary>Computes cheap values again for the backward pass, where that keeps fewer of them: SiLU·up from gate and up, normalised tokens from the tokens.</summary>
/// <remarks>
/// A region is a chain of elementwise operators in one shape, a normalisation, or a Cast. Its copy reads the region's starts behind the
/// gradient at the region's end (<see cref="OpBuilder.Behind"/>): it cannot run before that is there, nor be merged with the original. Nodes that this
/// gradient itself depends on keep reading the original.
/// </remarks>
internal static class ElementwiseAgain
{
    private static readonly HashSet<string> Elementwise =
        ["Mul", "Sigmoid", "Tanh", "Erf", "Gelu", "FastGelu", "QuickGelu", "Relu", "Softplus", "Neg", "Exp", "Pow"];

    private static readonly HashSet<string> Normalizations = ["SimplifiedLayerNormalization", "RMSNormalization", "LayerNormalization"];

    /// <summary>The regions of a forward graph whose end is reached from <paramref name="parameters"/>, in graph order; Casts first, since copies of other regions may then serve theirs.</summary>
    public static IReadOnlyList<ElementwiseRegion> Find(Graph graph, IReadOnlyList<Value> parameters)
    {
        var reached = parameters.ToHashSet();
        foreach (var node in graph.Nodes.Where(n => n.Inputs.Any(i => i is not null && reached.Contains(i))))
            reached.UnionWith(node.Outputs.OfType<Value>().Where(o => o.ElementType.IsFloat()));
        var taken = new HashSet<Node>();
        var regions = new List<ElementwiseRegion>();
        foreach (var node in graph.Nodes.Reverse())
        {
            if (taken.Contains(node) || node.Outputs.Count(o => o is not null) != 1 || !reached.Contains(node.Output) || Grow(graph, node) is not { } region)
                continue;
            taken.UnionWith(region.Nodes);
            regions.Add(region);
        }
        regions.Reverse();
        return [.. regions.Where(r => r.IsCast), .. regions.Where(r => !r.IsCast)];
    }

    /// <summary>Rewrites a differentiated graph and returns the number of regions computed twice.</summary>
    /// <param name="op">Builder of the graph.</param>
    /// <param name="regions">What <see cref="Find"/> found.</param>
    /// <param name="gradients">Gradients at the ends of the regions.</param>
    /// <param name="forward">Nodes of the forward graph; all others are of the backward pass.</param>
    public static int Run(OpBuilder op, IReadOnlyList<ElementwiseRegion> regions, IReadOnlyDictionary<Value, Value> gradients, IReadOnlySet<Node> forward)
    {
        op.Scope = "sorsa/again";
        var count = 0;
        foreach (var region in regions)
        {
            if (!gradients.TryGetValue(region.End, out var gradient))
                continue;
            var before = Before(gradient, forward);
            var late = Inside(region).Select(value => (Value: value, Uses: value.Uses.Where(u => IsLate(u) && !u.Node.Is("Shape") && !before.Contains(u.Node)).ToArray()))
                .Where(v => v.Uses.Length > 0).ToArray();
            var kept = Inside(region).Where(v => v.Uses.Any(u => IsLate(u) && !u.Node.Is("Shape") && before.Contains(u.Node))).Select(Viewed).ToHashSet();
            var saved = late.Select(v => Viewed(v.Value)).Distinct().Where(v => !kept.Contains(v)).Sum(v => v.ElementType.BitSize());
            if (saved <= region.Starts.Where(s => !IsKept(s)).Sum(s => s.ElementType.BitSize()))
                continue;
            var copies = region.Starts.ToDictionary(s => s, s => op.Behind(s, gradient));
            foreach (var node in LayersAgain.Needed(region.Nodes, late.Select(v => v.Value)))
                LayersAgain.Copy(op, node, copies);
            foreach (var (value, uses) in late)
            {
                foreach (var use in uses)
                    use.Node.SetInput(use.InputIndex, copies[value]);
            }
            // Whoever asks for a shape alone can ask a start for it.
            foreach (var use in Inside(region).Where(v => HasTypeOf(v, region.Starts[0])).SelectMany(v => v.Uses).Where(u => IsLate(u) && u.Node.Is("Shape") && !IsOfCopy(u.Node)).ToArray())
                use.Node.SetInput(use.InputIndex, region.Starts[0]);
            count++;
        }
        return count;

        bool IsLate(Use use) => !forward.Contains(use.Node);
        bool IsOfCopy(Node shape) => shape.Inputs[0] is not { } input || input.Producer is not { } producer || !forward.Contains(producer);
        bool IsKept(Value start) => start.Producer is null || Views(Viewed(start)).Any(v => v.Uses.Any(u => IsLate(u) && !u.Node.Is("Shape")));
    }

    // What the elementwise chain, the normalisation or the Cast that ends with node consists of; null when it is none, or mixes shapes.
    private static ElementwiseRegion? Grow(Graph graph, Node end)
    {
        if (end.Is("Cast"))
            return end.Inputs[0]!.ElementType.IsFloat() && end.Output.ElementType.IsFloat() ? new ElementwiseRegion([end.Inputs[0]!], end.Output, [end]) : null;
        var isNormalization = Normalizations.Contains(end.OpType);
        if (!isNormalization && end.OpType != "Mul")
            return null;
        var starts = new List<Value>();
        var nodes = new HashSet<Node>();
        var pending = new Stack<Node>([end]);
        while (pending.TryPop(out var node))
        {
            if (!nodes.Add(node))
                continue;
            foreach (var input in node.Inputs.OfType<Value>())
            {
                if (input.Constant is not null)
                    continue;
                if (!HasTypeOf(input, end.Output))
                    return null;
                if (!isNormalization && input.Producer is { } producer && Elementwise.Contains(producer.OpType))
                    pending.Push(producer);
                else if (!starts.Contains(input))
                    starts.Add(input);
            }
        }
        if (starts.Count == 0)
            return null;
        var views = nodes.SelectMany(n => n.Output.Uses).Select(u => u.Node).Where(n => n.Is("Reshape") && n.Inputs[1]?.Constant is not null);
        return new ElementwiseRegion(starts, end.Output, [.. graph.Nodes.Where(nodes.Contains), .. views.Distinct()]);
    }

    private static IEnumerable<Value> Inside(ElementwiseRegion region) => region.Nodes.Select(n => n.Output);

    // Nodes of the backward pass that a gradient is computed from.
    private static HashSet<Node> Before(Value gradient, IReadOnlySet<Node> forward)
    {
        var before = new HashSet<Node>();
        var pending = new Stack<Value>([gradient]);
        while (pending.TryPop(out var value))
        {
            if (value.Producer is not { } node || forward.Contains(node) || !before.Add(node))
                continue;
            foreach (var read in Graph.ReadBy(node))
                pending.Push(read);
        }
        return before;
    }

    // The value whose bytes a view shows.
    private static Value Viewed(Value value)
    {
        while (value.Producer is { } node && node.Is("Reshape"))
            value = node.Inputs[0]!;
        return value;
    }

    private static IEnumerable<Value> Views(Value value)
    {
        var pending = new Stack<Value>([value]);
        while (pending.TryPop(out var next))
        {
            yield return next;
            foreach (var view in next.Uses.Where(u => u.InputIndex == 0 && u.Node.Is("Reshape")).Select(u => u.Node.Output))
                pending.Push(view);
        }
    }

    private static bool HasTypeOf(Value value, Value like) => value.ElementType == like.ElementType && value.HasShapeOf(like);
}

/// <summary>Cheap operators between a few values and one.</summary>
/// <param name="Starts">The values it begins with, in the shape of the end.</param>
/// <param name="End">The value it ends with.</param>
/// <param name="Nodes">Its nodes, producers first, then those that show its values in another shape.</param>
internal sealed record ElementwiseRegion(IReadOnlyList<Value> Starts, Value End, IReadOnlyList<Node> Nodes)
{
    /// <summary>Whether it is a Cast and nothing else.</summary>
    public bool IsCast => End.Producer!.Is("Cast");
}
