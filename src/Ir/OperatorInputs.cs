using System.Collections.Frozen;

namespace SorsaOrt.Ir;

/// <summary>How many inputs the operators of a Llama take, so that rules may index the inputs that must be there.</summary>
/// <remarks>Source: the operator specification of ONNX, opsets 11 to 26; optional inputs count towards the most.</remarks>
public static class OperatorInputs
{
    private static readonly FrozenDictionary<string, (int Least, int Most)> Counts = BuildTable();

    /// <summary>Checks every node of the standard domain whose operator is known here.</summary>
    /// <exception cref="ModelFormatException">A node has too few or too many inputs, lacks a required one, or has no output.</exception>
    public static void Check(Graph graph)
    {
        ArgumentNullException.ThrowIfNull(graph);
        foreach (var node in graph.Nodes)
        {
            if (node.Outputs.All(o => o is null))
                throw Wrong(node, "has no output");
            if (node.Domain.Length > 0 || !Counts.TryGetValue(node.OpType, out var count))
                continue;
            if (node.Inputs.Count < count.Least || node.Inputs.Take(count.Least).Any(i => i is null))
                throw Wrong(node, $"has {node.Inputs.Count(i => i is not null)} inputs, {count.Least} are needed");
            if (node.Inputs.Count > count.Most)
                throw Wrong(node, $"has {node.Inputs.Count} inputs, {count.Most} is the most");
            if (node.Outputs[0] is null)
                throw Wrong(node, "has no first output");
        }
    }

    private static ModelFormatException Wrong(Node node, string what) =>
        new($"node '{node.Name}' ({node.OpType}) {what}: {node}. Check the model or export it again.");

    private static FrozenDictionary<string, (int, int)> BuildTable()
    {
        var table = new Dictionary<string, (int, int)>(StringComparer.Ordinal);
        Add(1, 1, "Abs", "Cast", "Ceil", "ConstantOfShape", "Cos", "Erf", "Exp", "Flatten", "Floor", "Gelu", "Identity", "IsNaN", "Log", "LogSoftmax",
            "Neg", "NonZero", "Not", "Reciprocal", "Relu", "Round", "Shape", "Sigmoid", "Sign", "Sin", "Size", "Softmax", "Softplus", "Sqrt", "Swish", "Tanh", "Transpose");
        Add(2, 2, "Add", "And", "CastLike", "CumSum", "Div", "Equal", "Expand", "Gather", "GatherElements", "GatherND", "Greater", "GreaterOrEqual",
            "Less", "LessOrEqual", "MatMul", "Mod", "Mul", "Or", "Pow", "Reshape", "RMSNormalization", "Sub", "Tile", "TopK");
        Add(3, 3, "OneHot", "Range", "ScatterElements", "ScatterND", "Where");
        Add(1, int.MaxValue, "Concat", "Max", "Mean", "Min", "Sum");
        Add(1, 2, "ReduceL2", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum", "Split", "Squeeze", "Trilu", "Unsqueeze");
        Add(1, 3, "Clip", "Dropout");
        Add(1, 5, "Slice");
        Add(2, 3, "DequantizeLinear", "Gemm", "LayerNormalization", "QuantizeLinear");
        Add(2, 4, "Pad");
        return table.ToFrozenDictionary(StringComparer.Ordinal);

        void Add(int least, int most, params ReadOnlySpan<string> opTypes)
        {
            foreach (var opType in opTypes)
                table.Add(opType, (least, most));
        }
    }
}
