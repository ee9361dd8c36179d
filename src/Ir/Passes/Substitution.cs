namespace SorsaOrt.Ir.Passes;

/// <summary>How passes put one value in the place of another.</summary>
internal static class Substitution
{
    /// <summary>Makes everything that reads <paramref name="old"/> read <paramref name="by"/>; a graph output keeps its name.</summary>
    /// <returns>Whether anything changed. A graph output cannot become a graph input, an initializer or another output: it stays.</returns>
    public static bool Substitute(this Graph graph, Value old, Value by)
    {
        if (!graph.Outputs.Contains(old) || by.Producer is null || graph.Outputs.Contains(by))
        {
            var read = old.Uses.Count > 0;
            old.ReplaceAllUsesWith(by);
            return read;
        }
        var name = old.Name;
        graph.Rename(old, graph.FreeName(name + "/replaced"));
        graph.Rename(by, name);
        by.Type ??= old.Type;
        by.DocString = old.DocString;
        old.ReplaceAllUsesWith(by, graph);
        return true;
    }

    /// <summary>The data behind a value: an initializer's, or a Constant node's.</summary>
    public static Tensor? ConstantOf(this Value? value) =>
        value?.Constant ?? (value?.Producer is { } node && node.Is("Constant") ? GeneratorShapes.ConstantOf(node) : null);

    /// <summary>The one element of a constant with one element.</summary>
    public static double? ScalarOf(this Value? value) => value.ConstantOf()?.ScalarValue;

    /// <summary>A new initializer with its known contents.</summary>
    public static Value AddKnownInitializer(this Graph graph, string stem, Tensor data)
    {
        var value = graph.AddInitializer(graph.FreeName(stem), data);
        value.KnownElements = NodeInference.ElementsOf(data);
        return value;
    }
}
