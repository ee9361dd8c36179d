using System.Numerics.Tensors;
using SorsaOrt.Adapters;
using SorsaOrt.Artifacts;
using SorsaOrt.Ir;

namespace SorsaOrt.Merge;

/// <summary>Puts merged weights back where they arrived quantised: in the same form with new scales, or as floats.</summary>
internal static class QuantizedTargets
{
    /// <summary>The same types, blocks and layout; a block's scale and zero point change where others are nearer. Computed when the file is written.</summary>
    /// <param name="graph">The user's graph.</param>
    /// <param name="source">The weight as it arrived.</param>
    /// <param name="targets">All targets of it.</param>
    /// <param name="fold">Makes the merged weight, in the layout of the file.</param>
    /// <param name="told">Told what it cost.</param>
    public static void PutQuantized(Graph graph, SourceWeight source, IReadOnlyList<TargetWeight> targets, Func<float[]> fold, Action<RequantizedTarget>? told)
    {
        var stored = source.Quantized!;
        var parts = new Parts(() => Requantize(source, stored.Read(), targets, fold(), told));
        graph.MakeInitializer(stored.Values, new ComputedTensor(source.Data.ElementType, source.Data.Shape, () => parts.Take(0)));
        var first = stored.IsNBits ? 2 : 1;
        Put(graph, stored, stored.StoredScales, first, "scales", () => parts.Take(1));
        if (stored.Zeros is { } zeros && !stored.Read().IsSymmetric)
            Put(graph, stored, zeros, first + 1, "zero_points", () => parts.Take(2));
        graph.SortTopologically();
    }

    /// <summary>MatMul with the weight as floats in place of MatMulNBits; the floats themselves in place of DequantizeLinear. The graph computes in the type of the scales.</summary>
    public static void PutFloats(Graph graph, SourceWeight source, TargetWeight target, Func<float[]> fold, ElementType type)
    {
        var stored = source.Quantized!;
        var (node, computes) = (stored.Reader, stored.ScaleType);
        IReadOnlyList<long> shape = stored.IsNBits ? [stored.Shape[1], stored.Shape[0]] : stored.Shape;
        float[] Floats()
        {
            var folded = fold();
            if (!stored.IsNBits)
                return folded;
            var turned = new float[folded.Length];
            MatrixLayout.Transpose<float>(folded, checked((int)stored.Shape[0]), checked((int)stored.Shape[1]), turned);
            return turned;
        }
        var weight = graph.AddInitializer(graph.FreeName($"{stored.Values.Name}.{type.ShortName()}"), new ComputedTensor(type, shape, () => ModelMerger.Encode(Floats(), type, target.Module)));
        weight.StoredAs = stored.Values.StoredName;
        if (type != computes)
            weight = Emit(graph, "Cast", [weight], weight.Name + ".cast", NodeAttribute.Of("to", (long)computes));
        var output = node.Output;
        var result = weight;
        if (stored.IsNBits)
        {
            result = Emit(graph, "MatMul", [node.Inputs[0]!, weight], node.Name);
            foreach (var entry in node.Metadata)
                result.Producer!.Metadata.Add(entry);
            if (node.InputOrNull(5) is { } bias)
                result = Emit(graph, "Add", [result, bias], node.Name + "/Add");
        }
        result.Type ??= output.Type;
        output.ReplaceAllUsesWith(result, graph);
        graph.RemoveNodes(new HashSet<Node> { node });
        if (graph.Outputs.Contains(result) || stored.IsNBits)
        {
            // A product keeps the name that the product of integers had.
            (result.Type, result.HasValueInfo) = (output.Type, output.HasValueInfo);
            graph.Rename(result, graph.FreeName(output.Name));
        }
        graph.RemoveUnused();
        graph.SortTopologically();
    }

    private static Value Emit(Graph graph, string opType, Value[] inputs, string name, params NodeAttribute[] attributes)
    {
        var output = graph.NewValue(graph.FreeName(name.Length > 0 ? name + "/output" : opType));
        var node = graph.AddNode(opType, inputs, [output], name: name);
        foreach (var attribute in attributes)
            node.Attributes[attribute.Name] = attribute;
        return output;
    }

    // Scales or zero points that others read too keep their data; this weight gets its own.
    private static void Put(Graph graph, QuantizedWeight stored, Value value, int input, string what, Func<byte[]> compute)
    {
        var old = stored.DataOf(value);
        var data = new ComputedTensor(old.ElementType, old.Shape, compute);
        var behindCast = value != stored.Zeros && stored.Scales != stored.StoredScales;
        if (value.Constant is not null && value.Uses.Count == 1 && (!behindCast || stored.Scales.Uses.Count == 1))
        {
            graph.MakeInitializer(value, data);
            return;
        }
        if (behindCast)
            throw new UnsupportedGraphException($"node '{stored.Reader.Name}' shares its scales '{value.Name}', behind a Cast, with another weight; merge with --dtype fp32, fp16 or bf16");
        var own = graph.AddInitializer(graph.FreeName($"{stored.Values.Name}.{what}"), data);
        own.StoredAs = value.Constant is null ? null : value.Name;
        stored.Reader.SetInput(input, own);
    }

    private static byte[]?[] Requantize(SourceWeight source, QuantizedMatrix matrix, IReadOnlyList<TargetWeight> targets, float[] merged, Action<RequantizedTarget>? told)
    {
        var written = matrix.WithValues(merged);
        var (values, scales, zeros) = source.Quantized!.Encode(written);
        if (told is not null)
            Tell(source, matrix.ToFloat32(), merged, written.ToFloat32(), targets, told);
        return [values, scales, zeros];
    }

    private static void Tell(SourceWeight source, float[] arrived, float[] merged, float[] written, IReadOnlyList<TargetWeight> targets, Action<RequantizedTarget> told)
    {
        TensorPrimitives.Subtract(written, merged, written);
        TensorPrimitives.Subtract(merged, arrived, arrived);
        foreach (var target in targets)
        {
            double NormOf(float[] whole) => FrobeniusNorm.Of(AdaptedWeights.Slice(target, source.Shape) is { } slice ? slice.Take<float>(whole) : whole);
            var (lost, size, change) = (NormOf(written), NormOf(merged), NormOf(arrived));
            told(new RequantizedTarget(target.Module, source.Quantized!.ElementType, size > 0 ? lost / size : 0, change > 1e-6 * size ? lost / change : 0));
        }
    }

    // Values, scales and zero points are computed together, asked for on any thread, and forgotten one by one as they are written.
    private sealed class Parts(Func<byte[]?[]> compute)
    {
        private readonly byte[]?[] _parts = new byte[]?[3];

        public byte[] Take(int part)
        {
            lock (_parts)
            {
                if (_parts[part] is null)
                    compute().CopyTo(_parts, 0);
                var taken = _parts[part]!;
                _parts[part] = null;
                return taken;
            }
        }
    }
}
