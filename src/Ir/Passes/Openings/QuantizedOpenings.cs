namespace SorsaOrt.Ir.Passes;

/// <summary>ONNX Runtime's products and look-ups of quantised weights; the bytes of the file are read as they lie.</summary>
internal static class QuantizedOpenings
{
    /// <summary>com.microsoft MatMulNBits: A·dequantised(B)ᵀ + bias, B [N, K] in blocks along K.</summary>
    public static IReadOnlyList<Value?> MatMulNBits(OpBuilder op, Node node)
    {
        var weight = QuantizedWeight.Of(node)!;
        var bias = node.InputOrNull(5);
        var scales = weight.StoredScales is { Constant.Shape.Count: 2 } matrix ? matrix : Stored(op, weight.ScalesAsMatrix(), weight.StoredScales);
        var zeros = weight.ZerosAsMatrix() is { } points ? Stored(op, points, weight.Zeros!) : Middles(op, weight);
        var floats = op.Emit("DequantizeLinear", [Stored(op, weight.ValuesAsMatrix(), weight.Values), op.Cast(scales, ElementType.Float32), zeros],
            NodeAttribute.Of("axis", 1), NodeAttribute.Of("block_size", weight.BlockSize));
        var product = op.MatMul(node.Inputs[0]!, op.Transpose(floats, 1, 0));
        // What names the Linear is the node's own name, not that of its output.
        product.Producer!.Name = node.Name;
        foreach (var entry in node.Metadata)
            product.Producer!.Metadata.Add(entry);
        if (bias is null)
            return [product];
        var sum = op.Add(product, bias);
        // Not that of its output, which a node is renamed with: the product has it where a node is named as its output.
        sum.Producer!.Name = $"{op.Scope}/bias";
        return [sum];
    }

    /// <summary>com.microsoft DequantizeLinear: the standard one, which has had its types since opset 21.</summary>
    public static IReadOnlyList<Value?> DequantizeLinear(OpBuilder op, Node node) => [op.Emit(node.OpType, node.Inputs, node.Attributes.Values)];

    /// <summary>com.microsoft GatherBlockQuantized stays: no gradient passes it. A table behind a Reshape of stored bytes is read without it, or a runtime would hold it twice.</summary>
    public static IReadOnlyList<Value?> GatherBlockQuantized(OpBuilder op, Node node)
    {
        if (node.Inputs[0] is not { } table)
            throw new ModelFormatException($"{node.OpType} at node '{node.Name}' has no table. Check the model or export it again.");
        if (table.Producer is { } reshape && reshape.Is("Reshape") && reshape.Inputs[0] is { Constant: { } bytes } stored && table.Shape is { } shape && shape.All(d => d.Value is > 0))
            node.SetInput(0, Stored(op, bytes.ViewAs(bytes.ElementType, [.. shape.Select(d => d.Value!.Value)]), stored));
        return [node.Output];
    }

    private static Value Stored(OpBuilder op, Tensor data, Value stored)
    {
        var value = op.Graph.AddInitializer(op.Graph.FreeName($"{stored.Name}/{data.ElementType.ShortName()}"), data);
        value.StoredAs = stored.StoredName;
        return value;
    }

    // One tensor for all weights of a shape.
    private static Value Middles(OpBuilder op, QuantizedWeight weight)
    {
        var zeros = weight.Middles();
        var name = $"zero_points/{zeros}";
        return op.Graph.FindInitializer(name) ?? op.Graph.AddInitializer(op.Graph.FreeName(name), zeros);
    }
}
