namespace SorsaOrt.GraphBuilder;

/// <summary>Puts the adapters of all targets into a prepared model.</summary>
internal static class TrainableGraph
{
    /// <summary>Rewrites every Linear of the model, the targets with their parameters, which are returned in graph order.</summary>
    public static List<SiteParameters> Adapt(PreparedModel prepared, IReadOnlyList<LinearSite> targets, BuildOptions options)
    {
        var adapted = new AdaptedGraph(prepared.Model.Graph, prepared.Builder, prepared.Tokens);
        var chosen = targets.ToHashSet();
        var parameters = new List<SiteParameters>();
        foreach (var site in prepared.Sites)
        {
            if (chosen.Contains(site))
                parameters.Add(adapted.Adapt(site, options.Method, options.Rank, options.Scale));
            else
                adapted.Keep(site);
        }
        prepared.Model.Graph.RemoveUnused();
        prepared.Model.Graph.SortTopologically();
        return parameters;
    }
}
