namespace SorsaOrt.Ir.Passes;

/// <summary>Brings operators of the default domain into the form of opset <see cref="OpBuilder.WorkingOpset"/>.</summary>
/// <remarks>
/// Needs a sorted graph of opset 11 to 26. Axes, splits and the like move from attributes to inputs, Softmax before opset 13 is written
/// out, Dropout in inference goes. Operators that only newer opsets have (Attention, RMSNormalization, RotaryEmbedding, Swish, …) stay as
/// they are: whoever opens them comes later, and until then no runtime takes the model. Subgraphs are brought along.
/// </remarks>
public static class ToWorkingOpset
{
    private const long Oldest = 11, Newest = 26, IrVersion = 10;

    private static readonly HashSet<string> AxesInputSince13 = ["Squeeze", "Unsqueeze", "ReduceSum"];
    private static readonly HashSet<string> AxesInputSince18 = ["ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2",
        "ReduceLogSum", "ReduceLogSumExp", "ReduceSumSquare"];

    /// <summary>Operators whose meaning changed after the opset given and that no Llama has: refused rather than misread.</summary>
    private static readonly Dictionary<string, long> ChangedAt = new(StringComparer.Ordinal)
    {
        ["GroupNormalization"] = 21,
        ["DFT"] = 20,
        ["GridSample"] = 20,
    };

    /// <summary>Runs the pass on the model and sets its opset and format version.</summary>
    /// <returns>Nodes rewritten.</returns>
    /// <exception cref="UnsupportedGraphException">The opset is too old or too new, or an operator cannot be brought over.</exception>
    public static int Run(Model model)
    {
        if (model.Opsets.Remove("ai.onnx", out var alias))
            model.Opsets.TryAdd("", alias);
        var opset = model.Opset;
        if (opset is < Oldest or > Newest)
        {
            throw new UnsupportedGraphException(opset == 0
                ? "the model imports no version of the standard operator set. Export it again with opset 17 or 18."
                : $"opset {opset} is not supported, only {Oldest} to {Newest}. Export the model again with opset 17 or 18"
                    + (opset < Oldest ? ", or convert it with onnx.version_converter." : "."));
        }
        var changed = Upgrade(model.Graph, opset);
        model.Opsets[""] = OpBuilder.WorkingOpset;
        model.IrVersion = IrVersion;
        return changed;
    }

    private static int Upgrade(Graph graph, long opset)
    {
        var changed = 0;
        foreach (var node in graph.Nodes.ToArray())
        {
            foreach (var attribute in node.Attributes.Values)
            {
                IEnumerable<Graph> inner = attribute.Content switch { Graph g => [g], IReadOnlyList<Graph> many => many, _ => [] };
                changed += inner.Sum(g => Upgrade(g, opset));
            }
            if (node.Domain.Length == 0)
                changed += Upgrade(graph, node, opset);
        }
        if (changed > 0)
            graph.SortTopologically();
        return changed;
    }

    private static int Upgrade(Graph graph, Node node, long opset)
    {
        if (ChangedAt.TryGetValue(node.OpType, out var since) && opset < since)
            throw new UnsupportedGraphException($"{node.OpType} of opset {opset} at node '{node.Name}' is not supported. Export with opset {since}.");
        if ((opset < 13 && AxesInputSince13.Contains(node.OpType)) || (opset < 18 && AxesInputSince18.Contains(node.OpType)))
            return AttributeToInput(graph, node, "axes", 1);
        return node.OpType switch
        {
            "Split" when opset < 13 => AttributeToInput(graph, node, "split", 1) + StateParts(node),
            "Split" when opset < 18 => StateParts(node),
            "Softmax" or "LogSoftmax" or "Hardmax" when opset < 13 => WriteOutSoftmax(graph, node),
            "Dropout" => RemoveDropout(graph, node),
            "BatchNormalization" when node.Int("training_mode", 0) == 0 => DropTrainingOutputs(graph, node, opset),
            "Cast" or "CastLike" when opset >= 24 => node.Attributes.Remove("round_mode") ? 1 : 0,
            _ => 0,
        };
    }

    private static int AttributeToInput(Graph graph, Node node, string attribute, int input)
    {
        if (node.Ints(attribute) is not { } values)
            return 0;
        node.Attributes.Remove(attribute);
        var stem = (node.Name.Length > 0 ? node.Name : node.Output.Name) + "/" + attribute;
        node.SetInput(input, graph.AddKnownInitializer(stem, InMemoryTensor.Vector([.. values])));
        return 1;
    }

    /// <summary>Since opset 18 equal parts have to be asked for.</summary>
    private static int StateParts(Node node)
    {
        if (node.InputOrNull(1) is not null)
            return 0;
        node.Attributes["num_outputs"] = NodeAttribute.Of("num_outputs", node.Outputs.Count);
        return 1;
    }

    /// <summary>Before opset 13 the axes from <c>axis</c> (1 by default) on were taken together; written out as Flatten, Softmax, Reshape.</summary>
    private static int WriteOutSoftmax(Graph graph, Node node)
    {
        ShapeInference.Infer(graph);
        var x = node.Inputs[0]!;
        var axis = node.Int("axis", 1);
        if (axis == -1 || axis == x.Shape?.Count - 1)
        {
            node.Attributes["axis"] = NodeAttribute.Of("axis", -1);
            return 1;
        }
        var op = new OpBuilder(graph) { Scope = node.Name.Length > 0 ? node.Name : node.Output.Name };
        var flat = op.Emit("Flatten", [x], NodeAttribute.Of("axis", axis));
        var result = op.Reshape(op.Emit(node.OpType, [flat], NodeAttribute.Of("axis", -1)), op.ShapeOf(x));
        return graph.Substitute(node.Output, result) ? 1 : 0;
    }

    private static int RemoveDropout(Graph graph, Node node)
    {
        if (node.InputOrNull(2) is { } training && training.ScalarOf() != 0)
            return 0;
        if (node.Outputs.Count > 1 && node.Outputs[1] is { Uses.Count: > 0 })
            return 0;
        return graph.Substitute(node.Output, node.Inputs[0]!) ? 1 : 0;
    }

    /// <summary>Opset 9 lists four outputs of training that inference leaves out; newer opsets refuse them.</summary>
    private static int DropTrainingOutputs(Graph graph, Node node, long opset)
    {
        if (opset >= 14 || node.Outputs.Count == 1)
            return 0;
        var result = graph.NewValue(graph.FreeName(node.Output.Name + "/inference"), node.Output.Type);
        var plain = graph.AddNode(node.OpType, node.Inputs, [result], node.Domain, node.Name);
        foreach (var (name, attribute) in node.Attributes)
            plain.Attributes[name] = attribute;
        return graph.Substitute(node.Output, result) ? 1 : 0;
    }
}
