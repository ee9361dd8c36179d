using SorsaOrt.Artifacts;
using SorsaOrt.Autodiff;
using SorsaOrt.Ir;
using SorsaOrt.Ir.Passes;

namespace SorsaOrt.GraphBuilder;

/// <summary>Adds the loss, and then the gradients with their accumulation, to an adapted graph.</summary>
/// <remarks>
/// The loss is the sum of the cross entropies over the labels; the input <c>loss_scale</c> is its incoming gradient, so that the
/// caller averages as it likes: 1 / labels of the step, or 1 / (accumulation · labels of the micro-batch) as the reference does.
/// </remarks>
public static class LossAndGradients
{
    /// <summary>Flat positions b·sequence + t of the hidden states that predict a label, i64 [labels].</summary>
    public const string LabelPositions = "label_positions";

    /// <summary>The labels themselves, i64 [labels].</summary>
    public const string LabelIds = "label_ids";

    /// <summary>Factor on the gradient of the loss, f32 scalar.</summary>
    public const string LossScale = "loss_scale";

    /// <summary>Sum of the cross entropies, f32 scalar.</summary>
    public const string LossSum = "loss_sum";

    /// <summary>Logits at the label positions, f32 [labels, vocabulary].</summary>
    public const string Logits = "logits";

    /// <summary>Ends a name of an input that holds a gradient so far; the suffix of the official training runtime.</summary>
    public const string AccumulationBuffer = "_grad.accumulation.buffer";

    /// <summary>Ends a name of an output that holds a gradient with this micro-batch added.</summary>
    public const string AccumulationOut = "_grad.accumulation.out";

    /// <summary>Adds the label inputs and the outputs loss_sum and logits; the result is the eval graph.</summary>
    /// <param name="graph">An adapted graph.</param>
    /// <param name="op">Its builder.</param>
    /// <param name="logits">The logits of every token.</param>
    /// <param name="compute">Element type of the products with frozen weights and of attention.</param>
    /// <param name="factors">Matrices whose products stay float32 all the same: <see cref="MixedPrecision.Factors"/>.</param>
    public static void AddLoss(Graph graph, OpBuilder op, Value logits, ElementType compute = ElementType.Float32, IEnumerable<Value>? factors = null)
    {
        var labels = Dim.Symbol("labels");
        var positions = graph.AddInput(LabelPositions, new TensorType(ElementType.Int64, [labels]));
        var ids = graph.AddInput(LabelIds, new TensorType(ElementType.Int64, [labels]));
        if (graph.Outputs.Any(o => o.Name == Logits))
            graph.Rename(logits, graph.FreeName("model/logits"));
        var rows = LabelRows.Gather(graph, op, logits, positions);
        graph.Rename(rows, Logits);
        op.Scope = "sorsa/loss";
        var loss = CrossEntropy.Build(op, rows, ids);
        graph.Rename(loss, LossSum);
        graph.AddOutput(loss);
        graph.AddOutput(rows);
        MixedPrecision.Run(graph, op, compute, factors ?? []);
        DequantizedWeights.RunLate(graph, op);
        graph.RemoveUnused();
        graph.SortTopologically();
        PortableOperators.Run(graph);
        DeclareShapes(graph);
    }

    /// <summary>Turns the eval graph into the training graph: gradients of all <paramref name="parameters"/>, accumulated.</summary>
    /// <param name="graph">The eval graph.</param>
    /// <param name="op">Its builder.</param>
    /// <param name="parameters">Float inputs of the graph.</param>
    /// <param name="recompute">What the backward pass builds again.</param>
    /// <exception cref="UnsupportedGraphException">An operator without gradient, or layers asked for that were not found.</exception>
    public static void AddGradients(Graph graph, OpBuilder op, IReadOnlyList<Value> parameters, Recomputation recompute)
    {
        var loss = graph.Outputs.First(o => o.Name == LossSum);
        graph.RemoveOutputs(o => !ReferenceEquals(o, loss));
        var scale = graph.AddInput(LossScale, new TensorType(ElementType.Float32, []));
        var segments = recompute == Recomputation.Layer ? FindLayers(graph, loss, parameters) : [];
        var regions = recompute == Recomputation.None ? ElementwiseAgain.Find(graph, parameters) : [];
        var forward = graph.Nodes.ToHashSet();
        op.Scope = "sorsa/gradient";
        var wanted = ReverseMode.Differentiate(graph, loss, [.. parameters, .. segments.Select(s => s.End), .. regions.Select(r => r.End)], scale).Gradients;
        var gradients = wanted.Skip(parameters.Count).ToDictionary(g => g.Parameter, g => g.Gradient);
        LayersAgain.Run(op, segments, gradients, forward);
        ElementwiseAgain.Run(op, regions, gradients, forward);
        NormalizationRoots.Run(graph, op);
        op.Scope = "sorsa/gradient";
        foreach (var (parameter, gradient) in wanted.Take(parameters.Count))
        {
            var buffer = graph.AddInput(parameter.Name + AccumulationBuffer, parameter.Type);
            var sum = op.Add(buffer, gradient);
            graph.Rename(sum, parameter.Name + AccumulationOut);
            graph.AddOutput(sum);
        }
        MixedPrecision.JoinCasts(graph);
        GemmAddends.Run(graph);
        DequantizedWeights.RunLate(graph, op);
        graph.RemoveUnused();
        PortableOperators.Run(graph);
        ExecutionOrder.RunEndsEarly(graph);
        DeclareShapes(graph);
    }

    // ONNX Runtime computes in place only where it knows that both shapes are the same, and its own inference stops at reshapes
    // (SmolLM2-135M's shape, 2 × 256 tokens: 1883 MB without, 1627 MB with).
    private static void DeclareShapes(Graph graph)
    {
        foreach (var value in graph.Nodes.SelectMany(n => n.Outputs))
        {
            if (value?.Shape is { } shape && shape.All(d => d.IsKnown))
                value.HasValueInfo = true;
        }
    }

    // Those that a gradient passes: below the lowest adapter nothing is differentiated, so nothing is kept either.
    private static IReadOnlyList<LayerSegment> FindLayers(Graph graph, Value loss, IReadOnlyList<Value> parameters)
    {
        var segments = LayerBorders.Find(graph, graph.Inputs.First(i => i.Name == TokenInputs.Known[0]), loss);
        if (segments.Count == 0)
            throw new UnsupportedGraphException("--recompute layer: no value was found in this graph that all paths from one layer to the next pass "
                + "(one Gather of a stored embedding by input_ids, then residual sums in its shape). Use --recompute none.");
        var reached = parameters.ToHashSet();
        foreach (var node in graph.Nodes.Where(n => n.Inputs.Any(i => i is not null && reached.Contains(i))))
            reached.UnionWith(node.Outputs.OfType<Value>());
        return [.. segments.Where(s => reached.Contains(s.End))];
    }
}
