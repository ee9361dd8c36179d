namespace SorsaOrt.Ir.Passes;

/// <summary>Activations that newer opsets and ONNX Runtime's optimiser fuse.</summary>
internal static class ActivationOpenings
{
    /// <summary>Swish of opset 24: X·σ(α·X).</summary>
    public static IReadOnlyList<Value?> Swish(OpBuilder op, Node node)
    {
        var (x, alpha) = (node.Inputs[0]!, node.Float("alpha", 1));
        return [op.Mul(x, op.Unary("Sigmoid", alpha == 1 ? x : op.Mul(x, alpha)))];
    }

    /// <summary>com.microsoft BiasGelu: Gelu(X + bias) with the error function.</summary>
    public static IReadOnlyList<Value?> BiasGelu(OpBuilder op, Node node) => [op.Emit("Gelu", [op.Add(node.Inputs[0]!, node.Inputs[1]!)])];
}
