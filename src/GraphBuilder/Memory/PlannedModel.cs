using SorsaOrt.Ir;

namespace SorsaOrt.GraphBuilder.Memory;

/// <summary>The training graph of a model that no artifacts were built of yet.</summary>
public static class PlannedModel
{
    /// <summary>The memory plan as if <c>build-artifacts</c> had been run; no weight is read. Changes <paramref name="prepared"/> into the training graph.</summary>
    /// <exception cref="TargetException">Targets or rank do not fit the model.</exception>
    /// <exception cref="UnsupportedGraphException">The model cannot be trained.</exception>
    public static MemoryPlan Of(PreparedModel prepared, BuildOptions options, BatchLengths lengths)
    {
        var graph = prepared.Model.Graph;
        QuantizedWeights.Refuse(graph);
        var targets = TargetSelection.Select(prepared.Sites, options.Targets);
        TargetSelection.CheckRank(targets, options);
        SegmentMask.Apply(prepared);
        foreach (var site in targets)
        {
            var parts = FrozenResidual.Planned(site, options).ToList();
            foreach (var part in parts)
                DequantizedWeights.Add(graph, part, Planned(part.Type, part.Shape));
            if (parts.Count > 0 || options.ResidualOf(site) is not { } type)
                continue;
            graph.MakeInitializer(site.Weight, Planned(type, [.. site.Weight.Constant!.Shape]));
            site.Weight.Type = new TensorType(type, site.Weight.Shape);
        }
        var adapted = TrainableGraph.Adapt(prepared, targets, options);
        Value[] parameters = [.. adapted.SelectMany(a => a.All)];
        LossAndGradients.AddLoss(graph, prepared.Builder, graph.Outputs[0], options.ComputeType, MixedPrecision.Factors(graph, adapted));
        LossAndGradients.AddGradients(graph, prepared.Builder, parameters, options.Recompute);
        TiedWeights.LeaveUnpacked(graph);
        return MemoryPlan.Of(graph, [.. parameters.Select(p => lengths.BytesOf(p.Type)!.Value / sizeof(float))], lengths);
    }

    private static ComputedTensor Planned(ElementType type, long[] shape) => new(type, shape, () => throw new InvalidOperationException("A plan has no weights."));
}
