using SorsaOrt.Ir;

namespace SorsaOrt.GraphBuilder;

/// <summary>Quantised weights in the graph: they stay as they are stored, and each product makes floats of its own, which are gone with it.</summary>
/// <remarks>
/// ONNX Runtime would fold DequantizeLinear of constants when it loads, merge equal ones of the forward and the backward pass, or run them early: then all
/// weights lie in memory as floats. So the scales pass through Reshape(scales, 0·Shape(x)), which keeps them as they are but waits for x, the other side of the product.
/// </remarks>
internal static class DequantizedWeights
{
    /// <summary>Adds the quantised residual of a target as initializers, its data made by <paramref name="data"/>.</summary>
    public static void Add(Graph graph, LinearSite site, ElementType type, Func<ElementType, long[], Tensor> data)
    {
        AddInitializer(FrozenResidual.NameOf(site), data(type, [site.Out, site.In]));
        AddInitializer(FrozenResidual.ScalesNameOf(site), data(ElementType.Float32, FrozenResidual.ScalesShape(site)));

        void AddInitializer(string name, Tensor tensor)
        {
            graph.Vacate(name);
            graph.AddInitializer(name, tensor);
        }
    }

    /// <summary>The quantised residual of a target as floats [out, in]; null where it has none.</summary>
    public static Value? Find(Graph graph, OpBuilder op, LinearSite site) =>
        graph.FindInitializer(FrozenResidual.NameOf(site)) is { } values && QuantizedMatrix.Takes(values.ElementType)
            ? op.Emit("DequantizeLinear", [values, graph.FindInitializer(FrozenResidual.ScalesNameOf(site))!],
                NodeAttribute.Of("axis", 1), NodeAttribute.Of("block_size", QuantizedMatrix.Block))
            : null;

    /// <summary>Gives every product that reads a dequantised weight its own dequantisation, which waits for the product's other side. Sort the graph afterwards.</summary>
    /// <returns>Dequantisations added.</returns>
    public static int RunLate(Graph graph, OpBuilder op)
    {
        var added = 0;
        op.Scope = "sorsa/dequantized";
        foreach (var node in graph.Nodes.Where(n => n.Is("DequantizeLinear") && n.Inputs[0]!.Constant is { Shape.Count: 2 }).ToArray())
        {
            foreach (var (reader, index) in node.Output.Uses.ToArray())
            {
                if (reader.OpType is not ("Gemm" or "MatMul" or "FusedMatMul") || index > 1 || reader.Inputs[1 - index] is not { Shape: not null } other || WaitsFor(node, other))
                    continue;
                var scales = StoredScales(node);
                var kept = op.Mul(op.Emit("Shape", [other], NodeAttribute.Of("end", scales.Shape!.Count)), op.Integers(0));
                var gated = op.Reshape(scales, kept);
                gated.Type = scales.Type;
                reader.SetInput(index, op.Emit("DequantizeLinear", [node.Inputs[0], gated, .. node.Inputs.Skip(2)], node.Attributes.Values));
                added++;
            }
        }
        return added;
    }

    private static bool WaitsFor(Node dequantize, Value other) => Gate(dequantize) is { } shape && ReferenceEquals(shape.Inputs[0], other);

    private static Value StoredScales(Node dequantize) => Gate(dequantize) is null ? dequantize.Inputs[1]! : dequantize.Inputs[1]!.Producer!.Inputs[0]!;

    // The Shape node that the scales wait for, or null.
    private static Node? Gate(Node dequantize) => dequantize.Inputs[1]!.Producer is { } reshape && reshape.Is("Reshape")
        && reshape.Inputs[1]!.Producer is { } product && product.Is("Mul") && product.Inputs[0]!.Producer is { } shape && shape.Is("Shape") ? shape : null;
}
