using SorsaOrt.Adapters;
using SorsaOrt.Artifacts;
using SorsaOrt.Artifacts.OrtFormats;
using SorsaOrt.Ir;

namespace SorsaOrt.Merge.LoraDelta;

/// <summary>A LoRA beside one stored weight of the user's graph, y = x·W + (x·A)·B, whose A and B are inputs that need not be fed.</summary>
/// <remarks>
/// A [in, rank] and B [rank, out] are graph inputs with zeros of rank 1 as initializers, which ONNX Runtime replaces by those of an active adapter.
/// Of a packed weight (QKV, gate and up) A holds the parts' factors side by side and B has each at the outputs of its part.
/// </remarks>
internal sealed class OptionalAdapter
{
    private static readonly HashSet<string> Products = ["MatMul", "Gemm", "FusedMatMul", "MatMulNBits"];
    private static readonly HashSet<string> Passing = ["Transpose", "Cast", "Identity", "DequantizeLinear"];

    private readonly IReadOnlyList<TargetWeight> _targets;
    private readonly SourceWeight _source;
    private readonly Value _a;
    private readonly Value _b;

    private OptionalAdapter(IReadOnlyList<TargetWeight> targets, SourceWeight source, Value a, Value b) => (_targets, _source, _a, _b) = (targets, source, a, b);

    /// <summary>Adds the inputs and the two products to the graph; sort it when all are in.</summary>
    /// <param name="graph">The user's graph.</param>
    /// <param name="targets">All targets of one stored weight.</param>
    /// <exception cref="UnsupportedGraphException">The weight is not read by one matrix product.</exception>
    public static OptionalAdapter Insert(Graph graph, IReadOnlyList<TargetWeight> targets)
    {
        var source = SourceWeight.Of(graph, targets[0]);
        var weight = source.Initializer;
        var product = ProductOf(weight) ?? throw new UnsupportedGraphException($"{targets[0].Module}: '{weight.Name}' is not read by one MatMul, Gemm, FusedMatMul or MatMulNBits, so no adapter can stand beside it");
        var (x, y, type) = (product.Inputs[0]!, product.Output, TypeReadBy(source));
        var (inputs, outputs) = (targets[0].In, source.Shape[targets[0].Transposed ? 1 : 0]);
        var module = ModuleOf(targets);
        var a = Input(graph, module + ".lora_A.weight", type, [Dim.Of(inputs), Dim.Symbol(module + ".rank")], [inputs, 1]);
        var b = Input(graph, module + ".lora_B.weight", type, [Dim.Symbol(module + ".rank"), Dim.Of(outputs)], [1, outputs]);
        Value Emit(string op, Value left, Value right, string stem)
        {
            var result = graph.NewValue(graph.FreeName($"{module}.{stem}"));
            graph.AddNode(op, [left, right], [result], name: result.Name);
            return result;
        }
        var added = Emit("MatMul", Emit("MatMul", x, a, "lora_x"), b, "lora_delta");
        // The sum takes the product's place in every reader but itself, and its name where the graph gives it out.
        var sum = graph.NewValue(graph.FreeName(module + ".lora_sum"), y.Type);
        y.ReplaceAllUsesWith(sum, graph);
        graph.AddNode("Add", [y, added], [sum], name: sum.Name);
        if (graph.Outputs.Contains(sum))
        {
            var name = y.Name;
            graph.Rename(y, graph.FreeName(name + ".original"));
            graph.Rename(sum, name);
        }
        return new OptionalAdapter(targets, source, a, b);
    }

    /// <summary>A and B of this adapter, for the file that is loaded beside the model.</summary>
    public IEnumerable<OrtAdapterParameter> Parameters(TargetDeltas deltas)
    {
        var (inputs, outputs, rank) = (checked((int)_a.Shape![0].Value!.Value), checked((int)_b.Shape![1].Value!.Value), _targets.Sum(deltas.RankOf));
        var (a, b) = (new float[checked(inputs * rank)], new float[checked(rank * outputs)]);
        var first = 0;
        foreach (var target in _targets)
        {
            var start = (AdaptedWeights.Slice(target, _source.Shape)?.Start) ?? 0;
            var halves = LoraFactors.Pissa(deltas.Of(target), 1);
            for (var i = 0; i < halves.Rank; i++)
            {
                for (var j = 0; j < inputs; j++)
                    a[(j * rank) + first + i] = halves.A[(i * inputs) + j];
                for (var j = 0; j < halves.OutFeatures; j++)
                    b[((first + i) * outputs) + start + j] = halves.B[(j * halves.Rank) + i];
            }
            first += halves.Rank;
        }
        yield return Parameter(_a, [inputs, rank], a);
        yield return Parameter(_b, [rank, outputs], b);
    }

    private OrtAdapterParameter Parameter(Value input, long[] shape, float[] values) =>
        new(input.Name, (int)input.ElementType, shape, ModelMerger.Encode(values, input.ElementType, _targets[0].Module));

    private static Value Input(Graph graph, string name, ElementType type, IReadOnlyList<Dim> shape, long[] defaults)
    {
        graph.Vacate(name);
        var value = graph.NewValue(name, new TensorType(type, shape));
        graph.MakeInitializer(value, new InMemoryTensor(type, defaults, new byte[type.ByteSize(defaults[0] * defaults[1])]));
        return graph.AddInput(value);
    }

    // model.layers.0.self_attn.q_proj; of a packed weight model.layers.0.self_attn.q_proj_k_proj_v_proj.
    private static string ModuleOf(IReadOnlyList<TargetWeight> targets)
    {
        var module = targets[0].Module;
        return targets.Count == 1 ? module : module[..(module.LastIndexOf('.') + 1)] + string.Join('_', targets.Select(t => t.Role));
    }

    private static Node? ProductOf(Value weight)
    {
        while (weight.Uses is [{ Node: { } reader, InputIndex: var index }])
        {
            if (index == 1 && Products.Contains(reader.OpType))
                return reader;
            if (index != 0 || !Passing.Contains(reader.OpType))
                return null;
            weight = reader.Output;
        }
        return null;
    }

    // What the product multiplies: the stored type, of integers that of their scales, or that of the Cast between.
    private static ElementType TypeReadBy(SourceWeight source)
    {
        var weight = source.Initializer;
        var type = source.Quantized?.ScaleType ?? source.Data.ElementType;
        for (var reader = weight.Uses[0].Node; !Products.Contains(reader.OpType); reader = reader.Output.Uses[0].Node)
        {
            if (reader.OpType == "Cast")
                type = (ElementType)reader.Int("to", (long)type);
        }
        return type;
    }
}
