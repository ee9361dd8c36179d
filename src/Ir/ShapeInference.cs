namespace SorsaOrt.Ir;

/// <summary>Element types, shapes and small integer contents of values, as far as they follow from the inputs.</summary>
public static class ShapeInference
{
    /// <summary>Infers all nodes of a sorted graph.</summary>
    public static void Infer(Graph graph)
    {
        foreach (var node in graph.Nodes)
            Infer(node);
    }

    /// <summary>Infers the outputs of one node from its inputs; what cannot be known stays unknown.</summary>
    public static void Infer(Node node)
    {
        // One rule per operator: see src/Ir/ShapeInference.
    }
}
