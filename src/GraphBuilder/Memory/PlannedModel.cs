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
        if (QuantizedMatrix.Takes(options.ResidualType) && options.Method != AdapterMethod.Full)
        {
            foreach (var site in targets)
                DequantizedWeights.Add(graph, site, options.ResidualType, Planned);
        }
        else
        {
            foreach (var weight in targets.Select(t => t.Weight).Distinct())
            {
                graph.MakeInitializer(weight, Planned(options.ResidualType, [.. weight.Constant!.Shape]));
                weight.Type = new TensorType(options.ResidualType, weight.Shape);
            }
        }
        Value[] parameters = [.. TrainableGraph.Adapt(prepared, targets, options).SelectMany(a => a.All)];
        LossAndGradients.AddLoss(graph, prepared.Builder, graph.Outputs[0]);
        LossAndGradients.AddGradients(graph, prepared.Builder, parameters, options.Recompute);
        TiedWeights.LeaveUnpacked(graph);
        return MemoryPlan.Of(graph, [.. parameters.Select(p => lengths.BytesOf(p.Type)!.Value / sizeof(float))], lengths, options.Recompute);
    }

    private static ComputedTensor Planned(ElementType type, long[] shape) => new(type, shape, () => throw new InvalidOperationException("A plan has no weights."));
}
