using System.Globalization;
using SorsaOrt.Ir;
using SorsaOrt.Ir.Serialization;

namespace SorsaOrt.TestSupport;

/// <summary>How many values share a scale.</summary>
public enum Granularity
{
    /// <summary>All of a weight.</summary>
    Tensor,
    /// <summary>Those of an output feature.</summary>
    Axis,
    /// <summary>32 of an output feature.</summary>
    Block,
}

/// <summary>Models with quantised weights, made from float exports, and back to floats by loops of their own.</summary>
public static class QuantizedModels
{
    private const int Block = 32;
    private const string Microsoft = "com.microsoft";

    /// <summary>Writes nano-llama with its Linears quantised in a form told by words.</summary>
    /// <param name="form">
    /// "i8 Axis": DequantizeLinear of that type and granularity, "tied" its table too; "nbits 4 32": MatMulNBits of 4 bits in blocks of 32, "zeros" with zero points. "f16": the model and the scales are of float16.
    /// </param>
    /// <param name="path">The file to write, everything inside.</param>
    public static void Write(string form, string path)
    {
        var words = form.Split(' ');
        var source = words.Contains("f16") ? Exports.Model("nano-llama/optimum-fp16") : Paths.Fixture("nano-llama", "optimum-no-past.onnx");
        static int Number(string text) => int.Parse(text, CultureInfo.InvariantCulture);
        bool IsQuantized(string name) => words.Contains("tied") || name.StartsWith("onnx::MatMul", StringComparison.Ordinal);
        if (words[0] == "nbits")
            WriteNBits(source, path, Number(words[1]), Number(words[2]), words.Contains("zeros"), IsQuantized);
        else
            WriteDequantizing(source, path, Enum.GetValues<ElementType>().First(t => t.ShortName() == words[0]), Enum.Parse<Granularity>(words[1]), IsQuantized);
    }

    /// <summary>Writes a model whose weights [in, out] of MatMul nodes, chosen by name, lie behind DequantizeLinear.</summary>
    /// <param name="source">A float model of opset 18 or later.</param>
    /// <param name="path">The file to write, everything inside.</param>
    /// <param name="type">i4, u4, i8 or u8; unsigned ones with zero points.</param>
    /// <param name="granularity">What shares a scale.</param>
    /// <param name="isQuantized">Chooses initializers.</param>
    public static void WriteDequantizing(string source, string path, ElementType type, Granularity granularity, Predicate<string> isQuantized)
    {
        using var model = OnnxReader.Read(source);
        var graph = model.Graph;
        foreach (var weight in graph.Initializers.Where(v => v.Constant is { Shape.Count: 2, ElementType: ElementType.Float32 or ElementType.Float16 } && isQuantized(v.Name)).ToArray())
        {
            var (rows, columns) = ((int)weight.Constant!.Shape[0], (int)weight.Constant.Shape[1]);
            var groups = granularity switch { Granularity.Tensor => 1, Granularity.Axis => columns, _ => (rows + Block - 1) / Block * columns };
            int Group(int i) => granularity switch { Granularity.Tensor => 0, Granularity.Axis => i % columns, _ => i / columns / Block * columns + i % columns };
            var (values, scales, zeros) = Quantize(weight.Constant.ToFloat32()!, type, weight.Constant.ElementType, groups, Group);
            long[] shape = granularity switch { Granularity.Tensor => [], Granularity.Axis => [columns], _ => [groups / columns, columns] };
            var floats = graph.NewValue(weight.Name + "/floats");
            var inputs = new List<Value> { graph.AddInitializer(weight.Name + "_quantized", new InMemoryTensor(type, [rows, columns], Pack(values, type))), graph.AddInitializer(weight.Name + "_scale", Floats(scales, weight.Constant.ElementType, shape)) };
            if (type is ElementType.UInt4 or ElementType.UInt8)
                inputs.Add(graph.AddInitializer(weight.Name + "_zero_point", new InMemoryTensor(type, shape, Pack(zeros, type))));
            weight.ReplaceAllUsesWith(floats);
            var node = graph.AddNode("DequantizeLinear", inputs, [floats], name: weight.Name + "/DequantizeLinear");
            node.Attributes["axis"] = NodeAttribute.Of("axis", granularity == Granularity.Axis ? 1 : 0);
            if (granularity == Granularity.Block)
                node.Attributes["block_size"] = NodeAttribute.Of("block_size", Block);
        }
        model.Opsets[""] = 21;
        Write(model, path);
    }

    /// <summary>Writes a model whose MatMul nodes with weights [in, out], chosen by name, are MatMulNBits.</summary>
    /// <param name="source">A float model of opset 18 or later.</param>
    /// <param name="path">The file to write, everything inside.</param>
    /// <param name="bits">4 or 8.</param>
    /// <param name="block">Values along `in` that share a scale.</param>
    /// <param name="withZeros">Whether zero points are stored; else 2^(bits−1) stands for all.</param>
    /// <param name="isQuantized">Chooses initializers.</param>
    public static void WriteNBits(string source, string path, int bits, int block, bool withZeros, Predicate<string> isQuantized)
    {
        using var model = OnnxReader.Read(source);
        var graph = model.Graph;
        var type = bits == 4 ? ElementType.UInt4 : ElementType.UInt8;
        foreach (var node in graph.Nodes.Where(n => n.Is("MatMul") && n.Inputs[1]!.Constant is { Shape.Count: 2, ElementType: ElementType.Float32 or ElementType.Float16 } && isQuantized(n.Inputs[1]!.Name)).ToArray())
        {
            var weight = node.Inputs[1]!;
            var (k, n) = ((int)weight.Constant!.Shape[0], (int)weight.Constant.Shape[1]);
            var blocks = (k + block - 1) / block;
            var given = weight.Constant.ToFloat32()!;
            var padded = new float[n * blocks * block];
            for (var i = 0; i < given.Length; i++)
                padded[i % n * blocks * block + i / n] = given[i];
            var (values, scales, zeros) = Quantize(padded, type, weight.Constant.ElementType, n * blocks, i => i / block, withZeros);
            var inputs = new List<Value>
            {
                node.Inputs[0]!,
                graph.AddInitializer(weight.Name + "_Q4", new InMemoryTensor(ElementType.UInt8, [n, blocks, block * bits / 8], Pack(values, type))),
                graph.AddInitializer(weight.Name + "_scales", Floats(scales, weight.Constant.ElementType, n, blocks)),
            };
            if (withZeros)
            {
                var width = (blocks * bits + 7) / 8 * 8 / bits;
                var rows = Enumerable.Range(0, n * width).Select(i => i % width < blocks ? zeros[i / width * blocks + i % width] : 0).ToArray();
                inputs.Add(graph.AddInitializer(weight.Name + "_zero_points", new InMemoryTensor(ElementType.UInt8, [n, (blocks * bits + 7) / 8], Pack(rows, type))));
            }
            var (output, name) = (node.Output, node.Name);
            graph.Rename(output, graph.FreeName(output.Name + "/old"));
            var product = graph.AddNode("MatMulNBits", inputs, [graph.NewValue(output.Name[..^4], output.Type)], Microsoft, name + "_Q4");
            output.ReplaceAllUsesWith(product.Output, graph);
            foreach (var (attribute, value) in new[] { ("K", k), ("N", n), ("bits", bits), ("block_size", block) })
                product.Attributes[attribute] = NodeAttribute.Of(attribute, value);
            graph.RemoveNodes(new HashSet<Node> { node });
        }
        model.Opsets[Microsoft] = 1;
        Write(model, path);
    }

    /// <summary>Writes the model with MatMulNBits that compute in float32 and do not quantise their activations.</summary>
    public static void WriteExact(string source, string path)
    {
        using var model = OnnxReader.Read(source);
        foreach (var node in model.Graph.Nodes.Where(n => n.Is("MatMulNBits", Microsoft)))
            node.Attributes["accuracy_level"] = NodeAttribute.Of("accuracy_level", 1);
        Write(model, path);
    }

    /// <summary>Writes the model with every quantised weight as the floats that its integers stand for.</summary>
    public static void WriteFloats(string source, string path)
    {
        using var model = OnnxReader.Read(source);
        var graph = model.Graph;
        foreach (var node in graph.Nodes.ToArray())
        {
            if (node.Is("MatMulNBits", Microsoft))
                Replace(graph, node, "MatMul", [node.Inputs[0]!, Floats(graph, node, (int)node.Int("K", 0), (int)node.Int("N", 0), turned: true)]);
            else if (node.Is("GatherBlockQuantized", Microsoft))
                Replace(graph, node, "Gather", [Floats(graph, node, 0, 0, turned: false), node.Inputs[1]!]);
            else if (node.Is("DequantizeLinear"))
                Replace(graph, node, "Identity", [Dequantized(graph, node)]);
        }
        Write(model, path);
    }

    private static void Replace(Graph graph, Node node, string opType, Value[] inputs)
    {
        var output = node.Output;
        var name = output.Name;
        graph.Rename(output, graph.FreeName(name + "/old"));
        graph.AddNode(opType, inputs, [graph.NewValue(name, output.Type)], name: node.Name + "/" + opType);
        output.ReplaceAllUsesWith(graph.Nodes[^1].Output, graph);
        graph.RemoveNodes(new HashSet<Node> { node });
    }

    // Rows of blocks of bytes, as MatMulNBits and GatherBlockQuantized store them; `turned` gives [K, N].
    private static Value Floats(Graph graph, Node node, int k, int n, bool turned)
    {
        var isTable = node.OpType == "GatherBlockQuantized";
        var stored = isTable && node.Inputs[0]!.Producer is { } reshape ? reshape.Inputs[0]! : node.Inputs[isTable ? 0 : 1]!;
        var (bits, block) = ((int)node.Int("bits", 4), (int)node.Int("block_size", isTable ? 128 : 0));
        var bytes = stored.Constant!.ToArray<byte>();
        var scales = node.Inputs[2]!.Constant!;
        var factors = scales.ToFloat32()!;
        var zeros = node.InputOrNull(3)?.Constant!.ToArray<byte>();
        if (isTable)
            (n, k) = ((int)stored.Constant.Shape[0], (int)(bytes.Length * 8L / bits / stored.Constant.Shape[0]));
        var blocks = (k + block - 1) / block;
        var zerosOfRow = (blocks * bits + 7) / 8;
        int At(byte[] packed, int row, int rowBytes, int i) => bits == 8 ? packed[row * rowBytes + i] : packed[row * rowBytes + i / 2] >> (i % 2 * 4) & 15;
        var floats = new float[n * k];
        for (var row = 0; row < n; row++)
        {
            for (var i = 0; i < k; i++)
            {
                var zero = zeros is null ? 1 << (bits - 1) : At(zeros, row, zerosOfRow, i / block);
                floats[turned ? i * n + row : row * k + i] = factors[row * blocks + i / block] * (At(bytes, row, blocks * block * bits / 8, i) - zero);
            }
        }
        return Wide(graph, stored.Name + ".floats", InMemoryTensor.Of(floats, turned ? [k, n] : [n, k]), scales.ElementType);
    }

    private static Value Dequantized(Graph graph, Node node)
    {
        var (values, scales) = (node.Inputs[0]!.Constant!, node.Inputs[1]!.Constant!);
        var zeros = node.InputOrNull(2)?.Constant;
        var (rows, columns, block, axis) = ((int)values.Shape[0], (int)values.Shape[1], (int)node.Int("block_size", 0), node.Int("axis", 1));
        var (q, s, z) = (Unpack(values), scales.ToFloat32()!, zeros is null ? null : Unpack(zeros));
        int Group(int row, int column) => scales.Shape.Count switch
        {
            0 => 0,
            1 => axis == 0 ? row : column,
            _ => axis == 0 ? row / block * columns + column : row * (int)scales.Shape[1] + column / block,
        };
        var floats = new float[rows * columns];
        for (var i = 0; i < floats.Length; i++)
        {
            var group = Group(i / columns, i % columns);
            floats[i] = s[group] * (q[i] - (z?[group] ?? 0));
        }
        return Wide(graph, node.Inputs[0]!.Name + ".floats", InMemoryTensor.Of(floats, rows, columns), scales.ElementType);
    }

    // Not rounded to the narrow type that the graph computes in: training computes in float32.
    private static Value Wide(Graph graph, string name, Tensor floats, ElementType type)
    {
        var wide = graph.AddInitializer(graph.FreeName(name), floats);
        if (type == ElementType.Float32)
            return wide;
        var cast = graph.AddNode("Cast", [wide], [graph.NewValue(graph.FreeName(name + ".cast"))]);
        cast.Attributes["to"] = NodeAttribute.Of("to", (long)type);
        return cast.Output;
    }

    private static InMemoryTensor Floats(float[] values, ElementType type, params long[] shape) => type == ElementType.Float32 ? InMemoryTensor.Of(values, shape)
        : InMemoryTensor.Of<Half>(type, Array.ConvertAll(values, v => (Half)v), shape);

    private static (int[] Values, float[] Scales, int[] Zeros) Quantize(float[] weight, ElementType type, ElementType scaleType, int groups, Func<int, int> group, bool asymmetric = true)
    {
        var (low, high) = type switch { ElementType.Int4 => (-8, 7), ElementType.UInt4 => (0, 15), ElementType.Int8 => (-128, 127), _ => (0, 255) };
        var (least, most) = (new float[groups], new float[groups]);
        for (var i = 0; i < weight.Length; i++)
            (least[group(i)], most[group(i)]) = (Math.Min(least[group(i)], weight[i]), Math.Max(most[group(i)], weight[i]));
        var isSigned = low < 0;
        var middle = isSigned ? 0 : (high + 1) / 2;
        var symmetric = isSigned || !asymmetric;
        var scales = new float[groups];
        var zeros = new int[groups];
        for (var g = 0; g < groups; g++)
        {
            scales[g] = symmetric ? Math.Max(most[g], -least[g]) / (high - middle) : (most[g] - least[g]) / (high - low);
            if (scaleType == ElementType.Float16)
                scales[g] = (float)(Half)scales[g];
            zeros[g] = symmetric ? middle : (int)Math.Clamp(MathF.Round(low - least[g] / scales[g]), low, high);
        }
        return ([.. weight.Select((w, i) => (int)Math.Clamp(MathF.Round(w / scales[group(i)]) + zeros[group(i)], low, high))], scales, zeros);
    }

    private static byte[] Pack(int[] values, ElementType type)
    {
        var bytes = new byte[type.ByteSize(values.Length)];
        for (var i = 0; i < values.Length; i++)
            bytes[type.BitSize() == 8 ? i : i / 2] |= unchecked((byte)(type.BitSize() == 8 ? values[i] : (values[i] & 15) << (i % 2 * 4)));
        return bytes;
    }

    private static int[] Unpack(Tensor tensor)
    {
        var bytes = new byte[tensor.ByteLength];
        tensor.CopyTo(0, bytes);
        int Of(int i)
        {
            var raw = tensor.ElementType.BitSize() == 8 ? bytes[i] : bytes[i / 2] >> (i % 2 * 4) & 15;
            return tensor.ElementType switch { ElementType.Int8 => unchecked((sbyte)raw), ElementType.Int4 => raw > 7 ? raw - 16 : raw, _ => raw };
        }
        return [.. Enumerable.Range(0, (int)tensor.ElementCount).Select(Of)];
    }

    private static void Write(Model model, string path)
    {
        model.Graph.RemoveUnused();
        model.Graph.SortTopologically();
        model.IrVersion = Math.Max(model.IrVersion, 10);
        File.WriteAllBytes(path, OnnxWriter.ToBytes(model));
    }
}
