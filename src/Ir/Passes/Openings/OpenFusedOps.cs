using System.Collections.Frozen;

namespace SorsaOrt.Ir.Passes;

/// <summary>Writes one fused operator out in operators of the working opset.</summary>
/// <param name="op">Appends the new nodes.</param>
/// <param name="node">The fused node; the types of its inputs are inferred.</param>
/// <returns>What takes the place of each output, in order; null where the opening does not give it.</returns>
/// <exception cref="UnsupportedGraphException">An attribute or input that the opening does not know: the message says which.</exception>
public delegate IReadOnlyList<Value?> Opening(OpBuilder op, Node node);

/// <summary>A node that could not be opened, and why.</summary>
/// <param name="Node">The node, left in the graph.</param>
/// <param name="Reason">What is not supported.</param>
public readonly record struct RefusedOpening(Node Node, string Reason);

/// <summary>Opens fused operators, which have no gradient rule or no kernel in the working opset, into standard ones.</summary>
/// <remarks>
/// A table from operator to opening; the openings stand in this folder, one small file for an operator or two. Operators that have both
/// a rule and a kernel (SimplifiedLayerNormalization, QuickGelu, FusedMatMul) stay fused. Needs an empty past where attention takes one.
/// </remarks>
public static class OpenFusedOps
{
    internal const string Microsoft = ShapeRuleTable.Microsoft;

    private static readonly FrozenDictionary<(string Domain, string OpType), Opening> Table = new Dictionary<(string, string), Opening>
    {
        [("", "Attention")] = AttentionOpening.Open,
        [("", "RotaryEmbedding")] = RotaryOpening.Open,
        [("", "RMSNormalization")] = NormalizationOpenings.RmsNormalization,
        [("", "Swish")] = ActivationOpenings.Swish,
        [(Microsoft, "GroupQueryAttention")] = GroupQueryAttentionOpening.Open,
        [(Microsoft, "MultiHeadAttention")] = MultiHeadAttentionOpening.Open,
        [(Microsoft, "RotaryEmbedding")] = RotaryOpening.OpenMicrosoft,
        [(Microsoft, "SkipSimplifiedLayerNormalization")] = NormalizationOpenings.SkipSimplified,
        [(Microsoft, "SkipLayerNormalization")] = NormalizationOpenings.Skip,
        [(Microsoft, "MatMulNBits")] = QuantizedOpenings.MatMulNBits,
        [(Microsoft, "DequantizeLinear")] = QuantizedOpenings.DequantizeLinear,
        [(Microsoft, "GatherBlockQuantized")] = QuantizedOpenings.GatherBlockQuantized,
        [(Microsoft, "BiasGelu")] = ActivationOpenings.BiasGelu,
    }.ToFrozenDictionary();

    /// <summary>Operators that are opened, as (domain, operator).</summary>
    public static IEnumerable<(string Domain, string OpType)> Known => Table.Keys;

    /// <summary>Runs the pass on the main graph. Sorts it and infers its shapes on the way.</summary>
    /// <returns>The nodes that could not be opened; the graph is whole either way.</returns>
    public static IReadOnlyList<RefusedOpening> Run(Graph graph)
    {
        graph.SortTopologically();
        ShapeInference.Infer(graph);
        var op = new OpBuilder(graph);
        var refused = new List<RefusedOpening>();
        var opened = 0;
        foreach (var node in graph.Nodes.ToArray())
        {
            // What an earlier opening learnt of its outputs reaches this node.
            if (opened > 0)
                ShapeInference.Infer(node);
            if (!Table.TryGetValue((node.Domain, node.OpType), out var opening))
                continue;
            try
            {
                op.Scope = node.Name.Length > 0 ? node.Name : node.Outputs.OfType<Value>().First().Name;
                Replace(graph, node, opening(op, node));
                opened++;
            }
            catch (UnsupportedGraphException e)
            {
                refused.Add(new RefusedOpening(node, e.Message));
            }
        }
        if (opened > 0)
        {
            graph.RemoveUnused();
            graph.SortTopologically();
        }
        return refused;
    }

    private static void Replace(Graph graph, Node node, IReadOnlyList<Value?> results)
    {
        for (var i = 0; i < node.Outputs.Count; i++)
        {
            if (node.Outputs[i] is { } output && (output.Uses.Count > 0 || graph.Outputs.Contains(output)) && (i >= results.Count || results[i] is null))
                throw new UnsupportedGraphException($"its output {i}, '{output.Name}', is read");
        }
        for (var i = 0; i < node.Outputs.Count && i < results.Count; i++)
        {
            if (node.Outputs[i] is { } output && results[i] is { } result)
                graph.Substitute(output, result);
        }
    }
}
