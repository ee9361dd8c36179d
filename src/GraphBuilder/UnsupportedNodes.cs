using SorsaOrt.Autodiff;
using SorsaOrt.Ir;
using SorsaOrt.Ir.Passes;

namespace SorsaOrt.GraphBuilder;

/// <summary>Refuses a model before any work is done for it, with every node that could not be trained through.</summary>
internal static class UnsupportedNodes
{
    private const int MostNames = 40;

    /// <summary>Complains about fused operators that could not be opened and operators between a Linear and the logits that have no gradient rule.</summary>
    /// <exception cref="UnsupportedGraphException">There are such nodes; all are named, operator by operator.</exception>
    public static void Refuse(Graph graph, Value logits, IReadOnlyList<LinearSite> sites, IReadOnlyList<RefusedOpening> refused)
    {
        var complaints = refused.Select(r => (r.Node, r.Reason)).ToList();
        var known = complaints.Select(c => c.Node).ToHashSet();
        complaints.AddRange(ReverseMode.WithoutRule(graph, logits, [.. sites.Select(s => s.Output)]).Where(n => !known.Contains(n)).Select(n => (n, "there is no gradient rule for it")));
        if (complaints.Count == 0)
            return;
        var groups = complaints.GroupBy(c => (c.Node.Domain, c.Node.OpType, c.Reason)).Select(g =>
            $"{(g.Key.Domain.Length > 0 ? g.Key.Domain + "::" : "")}{g.Key.OpType}, {g.Count()} {(g.Count() == 1 ? "node" : "nodes")}: {g.Key.Reason}; {Names([.. g.Select(c => c.Node)])}");
        throw new UnsupportedGraphException($"{complaints.Count} {(complaints.Count == 1 ? "node" : "nodes")} of the model cannot be trained through:{Environment.NewLine}  "
            + string.Join(Environment.NewLine + "  ", groups)
            + $"{Environment.NewLine}Export the model with standard operators in their place (torch.onnx or optimum, without further optimisation).");
    }

    private static string Names(IReadOnlyList<Node> nodes) =>
        string.Join(", ", nodes.Take(MostNames).Select(n => $"'{(n.Name.Length > 0 ? n.Name : n.Outputs.OfType<Value>().First().Name)}'"))
        + (nodes.Count > MostNames ? $" and {nodes.Count - MostNames} more" : "");
}
