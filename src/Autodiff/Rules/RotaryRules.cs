using SorsaOrt.Ir;

namespace SorsaOrt.Autodiff.Rules;

/// <summary>Rotary embeddings.</summary>
internal static class RotaryRules
{
    private const string Microsoft = "com.microsoft";

    public static void AddTo(GradientTable table) => table.Add("RotaryEmbedding", Rotary, Microsoft);

    /// <summary>Each pair of Y is the pair of X turned by an angle (and scaled by what both tables are): dX is dY turned back, by the negative sine.</summary>
    private static IReadOnlyList<Value?> Rotary(GradientContext g, Node node, Value dY)
    {
        var sin = node.Inputs[3]!;
        // Once for all layers that share the table.
        var back = sin.Uses.Where(u => u.Node.Is("Neg")).Select(u => u.Node.Output).FirstOrDefault() ?? g.Op.Unary("Neg", sin);
        return [g.Op.Emit("RotaryEmbedding", Microsoft, 1, [dY, node.Inputs[1], node.Inputs[2], back], node.Attributes.Values)[0]];
    }
}
