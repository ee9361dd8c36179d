using System.Globalization;
using System.Text;

namespace SorsaOrt.Ir.Passes;

/// <summary>Nodes that compute the same from the same inputs are merged into the first, and so are equal small initializers.</summary>
/// <remarks>
/// Needs a sorted graph. The survivor is the first in the graph's order, so the result is deterministic. Left alone: random operators,
/// nodes with subgraphs, operators of unknown domains, initializers over 1024 bytes and those that are graph inputs or outputs.
/// </remarks>
public static class CommonSubexpressions
{
    private const int MostBytes = 1024;
    private static readonly HashSet<string> Random =
        ["RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Bernoulli", "Multinomial", "Dropout"];

    /// <summary>Runs the pass on the main graph.</summary>
    /// <returns>Nodes and initializers merged.</returns>
    public static int Run(Graph graph)
    {
        var merged = MergeInitializers(graph) + MergeNodes(graph);
        if (merged > 0)
            graph.RemoveUnused();
        return merged;
    }

    private static int MergeInitializers(Graph graph)
    {
        var kept = new HashSet<Value>(graph.Inputs.Concat(graph.Outputs));
        var first = new Dictionary<string, Value>(StringComparer.Ordinal);
        var merged = 0;
        foreach (var value in graph.Initializers.ToArray())
        {
            if (kept.Contains(value) || value.Constant is not { ByteLength: <= MostBytes } data || data is StringTensor)
                continue;
            if (first.TryAdd(KeyOf(data), value) || value.Uses.Count == 0)
                continue;
            value.ReplaceAllUsesWith(first[KeyOf(data)]);
            merged++;
        }
        return merged;
    }

    private static int MergeNodes(Graph graph)
    {
        var first = new Dictionary<string, Node>(StringComparer.Ordinal);
        var merged = 0;
        foreach (var node in graph.Nodes.ToArray())
        {
            if (node.Domain is not ("" or ShapeRuleTable.Microsoft) || Random.Contains(node.OpType) || KeyOf(node) is not { } key)
                continue;
            if (first.TryAdd(key, node))
                continue;
            var changed = false;
            for (var i = 0; i < node.Outputs.Count; i++)
            {
                if (node.Outputs[i] is { } output)
                    changed |= graph.Substitute(output, first[key].Outputs[i]!);
            }
            merged += changed ? 1 : 0;
        }
        return merged;
    }

    /// <summary>Operator, outputs that are present, inputs and attributes; null for nodes that must not be merged.</summary>
    private static string? KeyOf(Node node)
    {
        var key = new StringBuilder(node.Domain).Append("::").Append(node.OpType).Append('|').Append(node.Overload).Append('|');
        foreach (var output in node.Outputs)
            key.Append(output is null ? '-' : '+');
        foreach (var input in node.Inputs)
            key.Append('|').Append(input is null ? "" : input.Name.Length.ToString(CultureInfo.InvariantCulture) + ":" + input.Name);
        foreach (var attribute in node.Attributes.Values.OrderBy(a => a.Name, StringComparer.Ordinal))
        {
            var content = attribute.Content switch
            {
                Tensor { ByteLength: <= MostBytes } tensor and not StringTensor => KeyOf(tensor),
                float f => BitConverter.SingleToInt32Bits(f).ToString(CultureInfo.InvariantCulture),
                long or byte[] or IReadOnlyList<long> or IReadOnlyList<float> => attribute.ToString(),
                _ => null,
            };
            if (content is null || attribute.ReferenceName.Length > 0)
                return null;
            key.Append('|').Append(attribute.Name).Append('=').Append(attribute.Kind).Append(content.Length).Append(':').Append(content);
        }
        return key.ToString();
    }

    private static string KeyOf(Tensor tensor)
    {
        var bytes = new byte[tensor.ByteLength];
        tensor.CopyTo(0, bytes);
        return tensor + Convert.ToBase64String(bytes);
    }
}
