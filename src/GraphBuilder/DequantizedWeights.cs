using SorsaOrt.Ir;

namespace SorsaOrt.GraphBuilder;

/// <summary>Quantised weights in the graph: they stay as they are stored, and each product makes floats of its own, which are gone with it.</summary>
/// <remarks>
/// ONNX Runtime would fold DequantizeLinear of constants when it loads, merge equal ones of the forward and the backward pass, or run them early: then all
/// weights lie in memory as floats. So the scales pass through Reshape(scales, 0·Shape(x)), which keeps them as they are but waits for x, the other side of the product.
/// </remarks>
internal static class DequantizedWeights
{
    /// <summary>Adds initializers that targets have of their own, where the model has one of that name it gets another.</summary>
    public static void Add(Graph graph, FrozenPart part, Tensor data)
    {
        graph.Vacate(part.Name);
        graph.AddInitializer(part.Name, data);
    }

    /// <summary>Gives every product that reads a dequantised weight, and every look-up of its rows, its own dequantisation, which waits for the other side. Sort the graph afterwards.</summary>
    /// <returns>Dequantisations added.</returns>
    public static int RunLate(Graph graph, OpBuilder op)
    {
        var added = 0;
        op.Scope = "sorsa/dequantized";
        foreach (var node in graph.Nodes.Where(n => n.Is("DequantizeLinear") && n.Inputs[0]!.Constant is { Shape.Count: 2 }).ToArray())
        {
            // Behind a Cast where products compute in 16 bits: it goes along.
            foreach (var (reader, index) in node.Output.Uses.SelectMany(u => u.Node.Is("Cast") ? u.Node.Output.Uses : [u]).ToArray())
            {
                var isReader = reader.OpType is "Gemm" or "MatMul" or "FusedMatMul" && index <= 1 || reader.Is("Gather") && index == 0;
                if (!isReader || reader.Inputs[1 - index] is not { Shape: not null } other || WaitsFor(node, other))
                    continue;
                var scales = StoredScales(node);
                var kept = op.Mul(op.Emit("Shape", [other], NodeAttribute.Of("end", scales.Shape!.Count)), op.Integers(0));
                var gated = op.Reshape(scales, kept);
                gated.Type = scales.Type;
                var floats = op.Emit("DequantizeLinear", [node.Inputs[0], gated, .. node.Inputs.Skip(2)], node.Attributes.Values);
                reader.SetInput(index, op.Cast(floats, reader.Inputs[index]!.ElementType));
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
