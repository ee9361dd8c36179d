using System.Text.RegularExpressions;
using SorsaOrt.Ir;

namespace SorsaOrt.GraphBuilder;

/// <summary>The module path of a Linear: from the exporter's scopes, the node's name, the weight's name, or its place in the block.</summary>
internal static partial class ModuleNames
{
    private const string NameScopes = "pkg.torch.onnx.name_scopes";

    /// <summary>The path, in the form <c>model.layers.0.self_attn.q_proj</c>; null where nothing tells it.</summary>
    /// <param name="site">The Linear.</param>
    /// <param name="place">What its place in the graph says, or null.</param>
    public static string? Of(LinearSite site, string? place)
    {
        // The name of a tied weight is that of the embedding as often as not.
        var fromWeight = place == "lm_head" && site.IsShared ? null : WeightModule(site.WeightName);
        var name = FromScopes(site.Node) ?? FromNodeName(site.Node.Name) ?? fromWeight;
        if (name is null)
            return place;
        name = Attention().Replace(name, "self_attn.$1");
        return site.SliceStart is null ? name : PartOf(name, place, site.SliceStart.Value);
    }

    // model.layers.0.self_attn.qkv_proj holds model.layers.0.self_attn.q_proj.
    private static string PartOf(string packed, string? place, int start)
    {
        var parent = packed[..(packed.LastIndexOf('.') + 1)];
        return place is null ? $"{packed}.from_{start}" : parent + place[(place.LastIndexOf('.') + 1)..];
    }

    private static string? FromScopes(Node node)
    {
        foreach (var (key, value) in node.Metadata)
        {
            // A Python list in a string; the element before the last is the module, the last the FX node.
            if (key == NameScopes && QuotedText().Matches(value) is { Count: >= 2 } scopes && scopes[^2].Groups[1].Value is { Length: > 0 } scope)
                return scope;
        }
        return null;
    }

    // /model/layers.0/mlp/up_proj/MatMul, to which ONNX Runtime's optimiser may add /MatMulAddFusion and the like.
    private static string? FromNodeName(string name)
    {
        if (!name.StartsWith('/'))
            return null;
        var parts = name.Split('/', StringSplitOptions.RemoveEmptyEntries).ToList();
        while (parts.Count > 0 && Product().IsMatch(parts[^1]))
            parts.RemoveAt(parts.Count - 1);
        return parts.Count > 0 ? string.Join('.', parts) : null;
    }

    private static string? WeightModule(string weight) => ModulePath().Match(weight) is { Success: true } path ? path.Groups[1].Value : null;

    [GeneratedRegex("'([^']*)'", RegexOptions.NonBacktracking)]
    private static partial Regex QuotedText();

    [GeneratedRegex(@"^((?:[A-Za-z_][A-Za-z0-9_]*\.)*[A-Za-z_][A-Za-z0-9_]*?)(?:\.MatMul)?\.weight(?:_quantized|_(?:DQ_)?Q[48]\w*)?$", RegexOptions.NonBacktracking)]
    private static partial Regex ModulePath();

    [GeneratedRegex(@"^(MatMul|Gemm|FusedMatMul)", RegexOptions.NonBacktracking)]
    private static partial Regex Product();

    // The ORT GenAI builder says attn.
    [GeneratedRegex(@"\battn\.((?:q|k|v|o|qkv)_proj)$", RegexOptions.NonBacktracking)]
    private static partial Regex Attention();
}
