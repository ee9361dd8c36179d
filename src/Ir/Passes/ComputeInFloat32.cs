namespace SorsaOrt.Ir.Passes;

/// <summary>A model stored in float16 or bfloat16 computes in float32. Matrices stay stored as they are, behind a Cast.</summary>
/// <remarks>
/// Needs constants as initializers; works in any opset. ONNX Runtime's CPU provider has no bfloat16 kernels, and gradients underflow in float16.
/// Scalars, vectors and matrices of at most 1024 elements become float32 themselves. A Cast stands as late as it can: behind the Gather of an embedding
/// table or the Transpose of a weight, so that no wide copy of a table is made. Casts between the narrow types and float32 are left as Casts of float32.
/// </remarks>
public static class ComputeInFloat32
{
    private const int MostElements = 1024;
    private static readonly HashSet<string> TypeAttributes = ["to", "dtype", "output_dtype"];
    private static readonly HashSet<string> Moves = ["Transpose", "Reshape", "Squeeze", "Unsqueeze", "Identity", "Gather", "Slice"];

    /// <summary>Runs the pass on the main graph.</summary>
    /// <returns>Values that are float32 now.</returns>
    public static int Run(Graph graph)
    {
        foreach (var node in graph.Nodes)
            WidenAttributes(node);
        var changed = 0;
        foreach (var value in graph.Inputs.Concat(graph.Nodes.SelectMany(n => n.Outputs)).OfType<Value>().Where(v => IsNarrow(v.ElementType)))
        {
            value.Type = new TensorType(ElementType.Float32, value.Shape);
            changed++;
        }
        foreach (var value in graph.Initializers.Where(v => IsNarrow(v.Constant!.ElementType)).ToArray())
        {
            changed++;
            if (value.Constant!.Shape.Count(d => d > 1) <= 1 || value.Constant.ElementCount <= MostElements)
                Widen(graph, value);
            else
                CastReaders(graph, value);
        }
        if (changed > 0)
            graph.SortTopologically();
        return changed;
    }

    /// <summary>Whether the type is float16 or bfloat16.</summary>
    public static bool IsNarrow(ElementType type) => type is ElementType.Float16 or ElementType.BFloat16;

    private static void WidenAttributes(Node node)
    {
        foreach (var (name, attribute) in node.Attributes.ToArray())
        {
            if (attribute.Content is long type && TypeAttributes.Contains(name) && IsNarrow((ElementType)type))
                node.Attributes[name] = NodeAttribute.Of(name, (long)ElementType.Float32);
            else if (attribute.Content is Tensor tensor && IsNarrow(tensor.ElementType))
                node.Attributes[name] = NodeAttribute.Of(name, Wide(tensor));
        }
    }

    private static void Widen(Graph graph, Value value)
    {
        graph.MakeInitializer(value, Wide(value.Constant!));
        value.Type = new TensorType(ElementType.Float32, value.Shape);
    }

    private static InMemoryTensor Wide(Tensor tensor) => InMemoryTensor.Of(Array.ConvertAll(tensor.ToFloat64()!, v => (float)v), [.. tensor.Shape]);

    // Follows a stored matrix through what only moves its elements and puts one Cast at the end of each way.
    private static void CastReaders(Graph graph, Value stored)
    {
        var pending = new Stack<Value>([stored]);
        while (pending.TryPop(out var narrow))
        {
            Value? wide = null;
            foreach (var (node, index) in narrow.Uses.ToArray())
            {
                if (node.Is("Cast"))
                    continue;
                if (index == 0 && node.Domain.Length == 0 && Moves.Contains(node.OpType) && node.Outputs is [{ } moved] && !graph.Outputs.Contains(moved))
                {
                    moved.Type = new TensorType(stored.Constant!.ElementType, moved.Shape);
                    pending.Push(moved);
                    continue;
                }
                node.SetInput(index, wide ??= CastOf(graph, narrow));
            }
        }
    }

    private static Value CastOf(Graph graph, Value narrow)
    {
        var wide = graph.NewValue(graph.FreeName(narrow.Name + "/f32"), new TensorType(ElementType.Float32, narrow.Shape));
        var cast = graph.AddNode("Cast", [narrow], [wide], name: wide.Name);
        cast.Attributes["to"] = NodeAttribute.Of("to", (long)ElementType.Float32);
        return wide;
    }
}
