using SorsaOrt.Ir;

namespace SorsaOrt.GraphBuilder;

/// <summary>Lets the products with frozen weights, those of attention, and what lies between them compute in float16 or bfloat16; all else stays float32.</summary>
/// <remarks>
/// Runs over the forward graph with its loss. The backward pass follows by itself: every gradient rule answers in the type of its input, and the
/// gradient of a Cast is the Cast back. So the residual stream, norms, softmax, the loss, the adapters' products and their gradients, which sum over
/// tokens, are float32 both ways. An operator of one result that products read is narrow; one that only moves a view is what it reads.
/// docs/decisions/0009-mixed-precision.md.
/// </remarks>
internal static class MixedPrecision
{
    private static readonly HashSet<string> Between = ["Add", "Sub", "Mul", "Neg", "Sigmoid", "QuickGelu", "Transpose", "Split", "Concat", "Slice", "Expand", "RotaryEmbedding"];
    private static readonly HashSet<string> Views = ["Reshape", "Unsqueeze", "Squeeze"];
    private static readonly HashSet<string> Moves = ["Cast", "Transpose", "Reshape", "Identity"];

    /// <summary>Rewrites the graph; sorts it first.</summary>
    /// <param name="graph">The eval graph, all types float32 but for stored weights.</param>
    /// <param name="op">Its builder.</param>
    /// <param name="type">f16 or bf16; f32 leaves the graph as it is.</param>
    /// <param name="factors">Matrices whose products stay float32: <see cref="Factors"/>.</param>
    /// <returns>Nodes that compute in <paramref name="type"/>.</returns>
    public static int Run(Graph graph, OpBuilder op, ElementType type, IEnumerable<Value> factors)
    {
        if (type == ElementType.Float32)
            return 0;
        graph.RemoveUnused();
        graph.SortTopologically();
        var ofFactors = WithStacks(graph, factors);
        op.Scope = "sorsa/precision";
        AddLast(graph, op, ofFactors);
        graph.SortTopologically();
        var narrow = Choose(graph, ofFactors);
        Convert(graph, op, type, narrow);
        graph.RemoveUnused();
        GemmAddends.Run(graph);
        return narrow.Count;
    }

    /// <summary>What is trained, and the frozen factors that stored weights have subtracted beside them.</summary>
    public static IEnumerable<Value> Factors(Graph graph, IEnumerable<SiteParameters> adapted) => adapted.SelectMany(a => a.All.Concat(
        new[] { FrozenResidual.StartA(a.Site), FrozenResidual.StartB(a.Site) }.Select(graph.FindInitializer).OfType<Value>()));

    /// <summary>Takes out Casts that undo a widening Cast: the elements are those of the narrow value, bit for bit.</summary>
    public static void JoinCasts(Graph graph)
    {
        foreach (var cast in graph.Nodes.Where(n => n.Is("Cast")).ToArray())
        {
            if (cast.Inputs[0]!.Producer is { } widening && widening.Is("Cast") && widening.Output.ElementType == ElementType.Float32
                && widening.Inputs[0] is { } source && source.ElementType == cast.Output.ElementType && source.ElementType.IsFloat() && !graph.Outputs.Contains(cast.Output))
                cast.Output.ReplaceAllUsesWith(source);
        }
    }

    // Stacked factors are factors.
    private static HashSet<Value> WithStacks(Graph graph, IEnumerable<Value> factors)
    {
        var all = factors.ToHashSet();
        foreach (var node in graph.Nodes.Where(n => n.Is("Concat") && n.Inputs.All(i => i is not null && all.Contains(i))))
            all.Add(node.Output);
        return all;
    }

    // Gemm(u, B, x·Wr) becomes x·Wr + Gemm(u, B), so that the adapter's whole share is summed in float32 and meets the frozen product in the type of their sum.
    private static void AddLast(Graph graph, OpBuilder op, HashSet<Value> factors)
    {
        foreach (var node in graph.Nodes.Where(IsShare).ToArray())
        {
            if (node.Output.Uses.Any(u => u.InputIndex == 2 && IsShare(u.Node)))
                continue;
            var last = node;
            while (last.Inputs[2]!.Producer is { } inner && IsShare(inner))
                last = inner;
            var (frozen, readers) = (last.Inputs[2]!, node.Output.Uses.ToArray());
            last.SetInputs([.. last.Inputs.Take(2)]);
            var sum = op.Add(frozen, node.Output);
            sum.Type = node.Output.Type;
            foreach (var (reader, index) in readers)
                reader.SetInput(index, sum);
        }

        bool IsShare(Node node) => node.Is("Gemm") && node.InputOrNull(2) is not null && factors.Contains(node.Inputs[1]!);
    }

    private static HashSet<Node> Choose(Graph graph, HashSet<Value> factors)
    {
        var narrow = new HashSet<Node>();
        var activations = new HashSet<Value>();
        foreach (var node in graph.Nodes)
        {
            if (IsProduct(node) && IsWide(node) && !node.Inputs.Take(2).Any(i => factors.Contains(i!)))
            {
                var isLinear = node.Inputs.Take(2).Any(i => IsStored(i!));
                // Not the angles of rotary tables, which come from positions.
                if (isLinear || node.Inputs.Take(2).All(i => activations.Contains(i!)))
                    narrow.Add(node);
                if (isLinear)
                    activations.Add(node.Output);
            }
            if (node.Inputs.Any(i => i is not null && activations.Contains(i)))
                activations.UnionWith(node.Outputs.OfType<Value>().Where(o => o.ElementType.IsFloat()));
        }
        var wholly = new HashSet<Node>();
        foreach (var node in graph.Nodes.Reverse())
        {
            var isView = Views.Contains(node.OpType);
            if (narrow.Contains(node) || !(isView || IsBetween(node)) || !IsWide(node) || !node.Outputs.Any(o => o?.Uses.Any(u => narrow.Contains(u.Node)) == true))
                continue;
            narrow.Add(node);
            if (isView && !graph.Outputs.Contains(node.Output) && node.Output.Uses.All(u => narrow.Contains(u.Node) && (!Views.Contains(u.Node.OpType) || wholly.Contains(u.Node))))
                wholly.Add(node);
        }
        foreach (var view in graph.Nodes.Where(n => Views.Contains(n.OpType) && narrow.Contains(n) && !wholly.Contains(n)))
        {
            if (view.Inputs[0]!.Producer is not { } producer || !narrow.Contains(producer))
                narrow.Remove(view);
        }
        return narrow;
    }

    // A factor that repeats along the features, or one stored for each of them, belongs to a norm.
    private static bool IsBetween(Node node) => Between.Contains(node.OpType) && !(node.Is("Mul") && node.Inputs.Any(i =>
        i!.Constant is { ElementCount: > 1 } || i.Shape is { Count: > 0 } shape && shape[^1].Is(1) && !node.Output.Shape![^1].Is(1)));

    private static bool IsProduct(Node node) => node.OpType is "Gemm" or "MatMul" or "FusedMatMul";

    private static bool IsWide(Node node) => node.Outputs.All(o => o is null || o.ElementType == ElementType.Float32);

    // A stored matrix behind what moves, converts or dequantises it.
    private static bool IsStored(Value value)
    {
        while (value.Producer is { } node && (Moves.Contains(node.OpType) || node.Is("DequantizeLinear")))
            value = node.Inputs[0]!;
        return value.Constant is { Shape: { Count: >= 2 } shape } && shape.Count(d => d > 1) >= 2;
    }

    private static void Convert(Graph graph, OpBuilder op, ElementType type, HashSet<Node> narrow)
    {
        var retyped = narrow.SelectMany(n => n.Outputs).OfType<Value>().ToHashSet();
        foreach (var value in retyped)
            value.Type = new TensorType(type, value.Shape);
        var casts = new Dictionary<(Value, ElementType), Value>();
        foreach (var node in graph.Nodes.Where(n => !n.Is("Shape") && !n.Is("Cast")).ToArray())
        {
            for (var i = 0; i < node.Inputs.Count; i++)
            {
                if (node.Inputs[i] is not { } input || !input.ElementType.IsFloat())
                    continue;
                if (narrow.Contains(node) && input.ElementType != type)
                    node.SetInput(i, As(input, type));
                else if (!narrow.Contains(node) && retyped.Contains(input))
                    node.SetInput(i, As(input, ElementType.Float32));
            }
        }
        foreach (var output in graph.Outputs.Where(retyped.Contains).ToArray())
        {
            var (name, wide) = (output.Name, As(output, ElementType.Float32));
            graph.Rename(output, graph.FreeName(name + "/" + type.ShortName()));
            graph.Rename(wide, name);
            graph.ReplaceOutput(output, wide);
        }

        // One for each value and type; from what was widened before, where that is.
        Value As(Value value, ElementType wanted)
        {
            if (casts.TryGetValue((value, wanted), out var cast))
                return cast;
            var source = value.Producer is { } producer && producer.Is("Cast") && producer.Inputs[0]!.ElementType is ElementType.Float16 or ElementType.BFloat16 ? producer.Inputs[0]! : value;
            return casts[(value, wanted)] = value.Constant is { ElementCount: 1 } number
                ? op.Constant(InMemoryTensor.Scalar(wanted, number.ToFloat64()![0], [.. number.Shape])) : op.Cast(source, wanted);
        }
    }
}
