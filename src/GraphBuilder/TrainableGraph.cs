using SorsaOrt.Ir.Passes;

namespace SorsaOrt.GraphBuilder;

/// <summary>Puts the adapters of all targets into a prepared model.</summary>
internal static class TrainableGraph
{
    /// <summary>Rewrites every Linear of the model, the targets with their parameters, which are returned in graph order.</summary>
    public static List<SiteParameters> Adapt(PreparedModel prepared, IReadOnlyList<LinearSite> targets, BuildOptions options)
    {
        var adapted = new AdaptedGraph(prepared.Model.Graph, prepared.Builder, prepared.Tokens);
        var chosen = targets.ToHashSet();
        var parameters = new Dictionary<LinearSite, SiteParameters>();
        // Looked at before anything is rewritten: a rewrite gives the next Linear another input.
        var together = prepared.Sites.Where(chosen.Contains).GroupBy(s => s.Input).Select(g => g.ToArray()).ToDictionary(g => g[0]);
        foreach (var site in prepared.Sites)
        {
            if (!chosen.Contains(site))
                adapted.Keep(site);
            else if (options.Method == AdapterMethod.Full)
                parameters[site] = adapted.AdaptFully(site);
            else if (together.TryGetValue(site, out var group))
            {
                foreach (var p in adapted.Adapt(group, options.Method == AdapterMethod.Sorsa, options.Rank, options.Scale))
                    parameters[p.Site] = p;
            }
        }
        prepared.Model.Graph.RemoveUnused();
        prepared.Model.Graph.SortTopologically();
        // The official runtime is not known to have the operator.
        if (options.Format == ArtifactFormat.Ort)
            FuseRotary.Run(prepared.Model);
        return [.. prepared.Sites.Where(chosen.Contains).Select(s => parameters[s])];
    }
}
