using System.Text.RegularExpressions;
using SorsaOrt.Ir;

namespace SorsaOrt.GraphBuilder;

/// <summary>Finds the Linears of a graph by structure and names them by what the exporter left.</summary>
public static partial class LinearSites
{
    private const string NameScopes = "pkg.torch.onnx.name_scopes";

    /// <summary>
    /// Every product whose right side leads, through Transpose, Cast and Identity only, to a stored rank-2 float tensor,
    /// in graph order.
    /// </summary>
    /// <remarks>Needs constants as initializers and inferred shapes. Source of the forms: the exports of optimum, TorchScript and dynamo.</remarks>
    public static IReadOnlyList<LinearSite> Find(Graph graph)
    {
        var matches = graph.Nodes.Select(Match).OfType<LinearSite>().ToList();
        var position = new BlockPosition(graph, matches.Select(m => m.Node));
        var sites = new List<LinearSite>();
        var names = new Dictionary<string, int>(StringComparer.Ordinal);
        foreach (var match in matches)
        {
            var place = position.Describe(match.Node);
            var module = ModuleName(match.Node, match.Weight) ?? place ?? $"linear.{sites.Count}";
            if (names.TryGetValue(module, out var seen))
                module = $"{module}.{names[module] = seen + 1}";
            else
                names[module] = 0;
            sites.Add(match with { Module = module, Role = module[(module.LastIndexOf('.') + 1)..] });
        }
        return sites;
    }

    private static LinearSite? Match(Node node)
    {
        var (isProduct, transB) = node switch
        {
            _ when node.Is("MatMul") => (true, false),
            _ when node.Is("Gemm") => (node.Int("transA", 0) == 0 && node.Float("alpha", 1) == 1 && node.Float("beta", 1) == 1, node.Int("transB", 0) != 0),
            _ when node.Is("FusedMatMul", "com.microsoft") => (node.Int("transA", 0) == 0 && node.Float("alpha", 1) == 1
                && node.Int("transBatchA", 0) == 0 && node.Int("transBatchB", 0) == 0, node.Int("transB", 0) != 0),
            _ => (false, false),
        };
        if (!isProduct || node.Inputs[0] is not { Constant: null } || node.Inputs[1] is not { } right)
            return null;
        while (right.Producer is { } producer && right.Constant is null)
        {
            if (producer.Is("Transpose") && producer.Inputs[0]?.Shape?.Count == 2)
            {
                if (producer.Ints("perm") is not { } p || p[0] == 1)
                    transB = !transB;
            }
            else if (!producer.Is("Cast") && !producer.Is("Identity"))
            {
                return null;
            }
            right = producer.Inputs[0]!;
        }
        if (right.Constant is not { Shape.Count: 2 } weight || !weight.ElementType.IsFloat())
            return null;
        var (rows, columns) = (checked((int)weight.Shape[0]), checked((int)weight.Shape[1]));
        return transB ? new LinearSite("", "", node, right, false, columns, rows) : new LinearSite("", "", node, right, true, rows, columns);
    }

    private static string? ModuleName(Node node, Value weight)
    {
        foreach (var (key, value) in node.Metadata)
        {
            // A Python list in a string; the element before the last is the module, the last the FX node.
            if (key == NameScopes && QuotedText().Matches(value) is { Count: >= 2 } scopes && scopes[^2].Groups[1].Value is { Length: > 0 } scope)
                return scope;
        }
        if (node.Name.StartsWith('/') && node.Name.LastIndexOf('/') is > 0 and var end)
            return node.Name[1..end].Replace('/', '.');
        return ModulePath().Match(weight.Name) is { Success: true } path ? path.Groups[1].Value : null;
    }

    [GeneratedRegex("'([^']*)'", RegexOptions.NonBacktracking)]
    private static partial Regex QuotedText();

    [GeneratedRegex(@"^((?:[A-Za-z_][A-Za-z0-9_]*\.)*[A-Za-z_][A-Za-z0-9_]*?)(?:\.MatMul)?\.weight$", RegexOptions.NonBacktracking)]
    private static partial Regex ModulePath();
}
