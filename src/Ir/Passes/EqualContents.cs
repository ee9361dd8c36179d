using System.Globalization;

namespace SorsaOrt.Ir.Passes;

/// <summary>Small integer tensors that hold the same lengths are computed once: a batch size taken from the shape of each layer, say.</summary>
/// <remarks>Needs a sorted graph with inferred shapes. The first in the graph's order survives. A symbol is taken to be one length wherever it stands.</remarks>
public static class EqualContents
{
    /// <summary>Runs the pass on the main graph.</summary>
    /// <returns>Values merged.</returns>
    public static int Run(Graph graph)
    {
        var seen = new Dictionary<string, List<Value>>(StringComparer.Ordinal);
        var merged = 0;
        foreach (var value in graph.Nodes.SelectMany(n => n.Outputs).OfType<Value>().ToArray())
        {
            if (value.KnownElements is not { Count: > 0 } elements || value.Shape is not { Count: <= 1 } shape || !elements.All(e => e.IsKnown))
                continue;
            var key = string.Create(CultureInfo.InvariantCulture, $"{value.ElementType} {shape.Count} {string.Join(',', elements)}");
            if (!seen.TryGetValue(key, out var alike))
                seen[key] = alike = [];
            var first = alike.Find(v => v.KnownElements!.Zip(elements).All(pair => Dim.Same(pair.First, pair.Second)));
            if (first is null)
                alike.Add(value);
            else
                merged += graph.Substitute(value, first) ? 1 : 0;
        }
        if (merged > 0)
            graph.RemoveUnused();
        return merged;
    }
}
