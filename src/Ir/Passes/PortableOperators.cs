namespace SorsaOrt.Ir.Passes;

/// <summary>Operators that a GPU provider has no kernel for in the working opset give way to others that all have.</summary>
/// <remarks>
/// A provider's kernel without an upper version serves only the version of the operator it was written for, so that CUDA lacks these of opset 21, which all
/// came with new versions. ConstantOfShape(s) = Expand(value, s); Equal(a, b) = a ≤ b ∧ a ≥ b, NaN included; Flatten(x) = Reshape(x). Source: docs/OperatorKernels.md of
/// microsoft/onnxruntime; its KernelRegistry, VerifyVersion. The values stay the same.
/// </remarks>
public static class PortableOperators
{
    /// <summary>Runs the pass on the main graph, which must have inferred types.</summary>
    /// <returns>Nodes replaced.</returns>
    public static int Run(Graph graph)
    {
        var op = new OpBuilder(graph);
        var replaced = 0;
        foreach (var node in graph.Nodes.ToArray())
        {
            op.Scope = node.Name.Length > 0 ? node.Name : node.Output.Name;
            var (result, type) = (Replacement(op, node), node.Output.Type);
            if (result is null || !graph.Substitute(node.Output, result))
                continue;
            result.Type = type;
            replaced++;
        }
        if (replaced > 0)
        {
            graph.RemoveUnused();
            graph.SortTopologically();
        }
        return replaced;
    }

    private static Value? Replacement(OpBuilder op, Node node) => node switch
    {
        _ when node.Is("ConstantOfShape") => op.Expand(op.Constant(Filling(node)), node.Inputs[0]!),
        _ when node.Is("Equal") && node.Inputs[0]!.ElementType is ElementType.Float32 or ElementType.Int64 or ElementType.Int32 =>
            op.Emit("And", [op.Emit("LessOrEqual", [node.Inputs[0], node.Inputs[1]]), op.Emit("GreaterOrEqual", [node.Inputs[0], node.Inputs[1]])]),
        _ when node.Is("Flatten") => Flat(op, node),
        _ => null,
    };

    // Without axes: expanded to no axes it stays a scalar.
    private static InMemoryTensor Filling(Node node)
    {
        if (node.TensorAttribute("value") is not { } value)
            return InMemoryTensor.Scalar(ElementType.Float32, 0);
        var bytes = new byte[value.ByteLength];
        value.CopyTo(0, bytes);
        return new InMemoryTensor(value.ElementType, [], bytes);
    }

    // One of the two lengths may be computed by Reshape.
    private static Value? Flat(OpBuilder op, Node node)
    {
        if (node.Inputs[0]?.Shape is not { } shape)
            return null;
        var axis = (int)node.Int("axis", 1);
        axis = axis < 0 ? axis + shape.Count : axis;
        var (front, back) = (Product(shape.Take(axis)), Product(shape.Skip(axis)));
        return front is null && back is null ? null : op.Reshape(node.Inputs[0]!, front ?? -1, front is null ? back!.Value : back ?? -1);
    }

    private static long? Product(IEnumerable<Dim> dims) =>
        dims.Aggregate((long?)1, (product, d) => product is { } p && d.Value is { } v ? checked(p * v) : null);
}
