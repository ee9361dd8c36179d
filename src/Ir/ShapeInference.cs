using System.Collections.Frozen;

namespace SorsaOrt.Ir;

/// <summary>Element types, shapes and small integer contents of values, as far as they follow from the inputs.</summary>
/// <remarks>
/// A table from operator to rule; the rules stand in the folder ShapeInference, by family. An operator without a rule leaves its
/// outputs as they are. Symbols stand for lengths that are not negative and that no broadcasting treats as 1.
/// </remarks>
public static class ShapeInference
{
    private static readonly FrozenDictionary<(string Domain, string OpType), Action<NodeInference>> Rules = BuildTable();

    /// <summary>Infers all nodes of a sorted graph.</summary>
    /// <exception cref="ModelFormatException">A node's attributes or inputs contradict its operator.</exception>
    public static void Infer(Graph graph)
    {
        foreach (var value in graph.Initializers)
        {
            if (value.Constant is { } data)
            {
                value.Type = new TensorType(data.ElementType, [.. data.Shape.Select(Dim.Of)]);
                value.KnownElements = NodeInference.ElementsOf(data);
            }
        }
        foreach (var node in graph.Nodes)
            Infer(node);
    }

    /// <summary>Infers the outputs of one node from its inputs; what cannot be known stays unknown.</summary>
    /// <remarks>A constant length that the file declares for an output is kept where inference only finds a symbol.</remarks>
    /// <exception cref="ModelFormatException">The node's attributes or inputs contradict its operator.</exception>
    public static void Infer(Node node)
    {
        if (!Rules.TryGetValue((node.Domain, node.OpType), out var rule))
            return;
        foreach (var output in node.Outputs)
        {
            if (output is not null)
                output.KnownElements = null;
        }
        try
        {
            rule(new NodeInference(node));
        }
        catch (OverflowException)
        {
            // Lengths or contents beyond 64 bits: nothing is known of them.
        }
        catch (Exception e) when (e is ArgumentException or IndexOutOfRangeException or InvalidOperationException or DivideByZeroException)
        {
            var reason = e is ArgumentException ? $" ({e.Message})" : "";
            throw new ModelFormatException($"the shapes or types at node '{node.Name}' cannot be right{reason}: {node}. Check the model or export it again.", e);
        }
    }

    /// <summary>Whether there is a rule for this operator.</summary>
    public static bool Knows(Node node) => Rules.ContainsKey((node.Domain, node.OpType));

    private static FrozenDictionary<(string, string), Action<NodeInference>> BuildTable()
    {
        var table = new ShapeRuleTable();
        ElementwiseShapes.AddTo(table);
        MatMulShapes.AddTo(table);
        ReductionShapes.AddTo(table);
        ReshapingShapes.AddTo(table);
        CuttingShapes.AddTo(table);
        IndexingShapes.AddTo(table);
        AttentionShapes.AddTo(table);
        GeneratorShapes.AddTo(table);
        return table.Rules.ToFrozenDictionary();
    }
}

/// <summary>Operator → shape rule, while the table is built.</summary>
internal sealed class ShapeRuleTable
{
    public const string Microsoft = "com.microsoft";

    public Dictionary<(string, string), Action<NodeInference>> Rules { get; } = [];

    /// <summary>One rule for several operators of the standard domain.</summary>
    public ShapeRuleTable Add(Action<NodeInference> rule, params ReadOnlySpan<string> opTypes)
    {
        foreach (var opType in opTypes)
            Rules.Add(("", opType), rule);
        return this;
    }

    /// <summary>One rule for several operators of ONNX Runtime's own domain.</summary>
    public ShapeRuleTable AddMicrosoft(Action<NodeInference> rule, params ReadOnlySpan<string> opTypes)
    {
        foreach (var opType in opTypes)
            Rules.Add((Microsoft, opType), rule);
        return this;
    }
}
