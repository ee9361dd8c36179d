namespace SorsaOrt.Ir.Passes;

/// <summary>Computes a node whose inputs are small constants. Floats are computed in 64 bits and rounded once.</summary>
internal static class ConstantArithmetic
{
    /// <summary>Constants with more elements than this are not worked on.</summary>
    public const int MostElements = 1024;

    private static readonly Dictionary<string, Func<double, double>> Unary = new(StringComparer.Ordinal)
    {
        ["Sqrt"] = Math.Sqrt,
        ["Neg"] = x => -x,
        ["Reciprocal"] = x => 1 / x,
        ["Abs"] = Math.Abs,
        ["Floor"] = Math.Floor,
        ["Ceil"] = Math.Ceiling,
        ["Exp"] = Math.Exp,
        ["Log"] = Math.Log,
        ["Cos"] = Math.Cos,
        ["Sin"] = Math.Sin,
    };

    private static readonly Dictionary<string, Func<double, double, double>> Binary = new(StringComparer.Ordinal)
    {
        ["Add"] = (a, b) => a + b,
        ["Sub"] = (a, b) => a - b,
        ["Mul"] = (a, b) => a * b,
        ["Div"] = (a, b) => a / b,
        ["Pow"] = Math.Pow,
        ["Max"] = Math.Max,
        ["Min"] = Math.Min,
    };

    private static readonly Dictionary<string, Func<long, long, long?>> IntegerBinary = new(StringComparer.Ordinal)
    {
        ["Add"] = (a, b) => unchecked(a + b),
        ["Sub"] = (a, b) => unchecked(a - b),
        ["Mul"] = (a, b) => unchecked(a * b),
        ["Div"] = (a, b) => b is 0 or -1 ? null : a / b,
        ["Max"] = (a, b) => Math.Max(a, b),
        ["Min"] = (a, b) => Math.Min(a, b),
    };

    /// <summary>The result, or null where the node is not of this kind or not all of its inputs are small constants.</summary>
    public static InMemoryTensor? Evaluate(Node node)
    {
        if (node.Domain.Length > 0 || node.Inputs.Count == 0 || node.Inputs.Any(i => i is not null && !IsSmall(i.ConstantOf())))
            return null;
        if (node.InputOrNull(0).ConstantOf() is not { } first)
            return null;
        return node.OpType switch
        {
            "Cast" => Cast(first, (ElementType)node.Int("to", 0)),
            "Unsqueeze" or "Squeeze" or "Reshape" => Reshaped(first, node.Output),
            var op when Unary.TryGetValue(op, out var f) => Map(first, f),
            var op when node.Inputs.Count == 2 && node.Inputs[1].ConstantOf() is { } second => Combine(op, first, second),
            _ => null,
        };
    }

    /// <summary>A tensor of an integer or truth type; null for other types.</summary>
    public static InMemoryTensor? FromIntegers(ElementType type, long[] values, long[] shape) => type switch
    {
        ElementType.Int64 => InMemoryTensor.Of(values, shape),
        ElementType.Int32 => InMemoryTensor.Of<int>(type, Array.ConvertAll(values, v => unchecked((int)v)), shape),
        ElementType.Bool => InMemoryTensor.Of<byte>(type, Array.ConvertAll(values, v => v == 0 ? (byte)0 : (byte)1), shape),
        _ => null,
    };

    /// <summary>A matrix of floats may be a weight that training looks for, so it is left alone.</summary>
    private static bool IsSmall(Tensor? data) => data is not null && data.ElementCount <= MostElements
        && !(data.ElementType.IsFloat() && data.Shape.Count(d => d > 1) > 1);

    private static InMemoryTensor? FromFloats(ElementType type, double[] values, long[] shape) => type switch
    {
        ElementType.Float64 => InMemoryTensor.Of(values, shape),
        ElementType.Float32 => InMemoryTensor.Of(Array.ConvertAll(values, v => (float)v), shape),
        ElementType.Float16 => InMemoryTensor.Of<Half>(type, Array.ConvertAll(values, v => (Half)v), shape),
        _ => null,
    };

    private static InMemoryTensor? Cast(Tensor data, ElementType to)
    {
        long[] shape = [.. data.Shape];
        if (data.ToFloat64() is { } floats)
        {
            if (to.IsFloat())
                return FromFloats(to, floats, shape);
            return to == ElementType.Bool ? FromIntegers(to, Array.ConvertAll(floats, v => v == 0 ? 0L : 1L), shape)
                : floats.All(v => Math.Abs(v) < int.MaxValue) ? FromIntegers(to, Array.ConvertAll(floats, v => (long)v), shape) : null;
        }
        if (data.ToInt64() is not { } integers)
            return null;
        return to.IsFloat() ? FromFloats(to, Array.ConvertAll(integers, v => (double)v), shape) : FromIntegers(to, integers, shape);
    }

    private static InMemoryTensor? Reshaped(Tensor data, Value output)
    {
        if (output.Type?.StaticShape is not { } shape || shape.Aggregate(1L, (p, d) => p * d) != data.ElementCount || data is StringTensor)
            return null;
        var bytes = new byte[data.ByteLength];
        data.CopyTo(0, bytes);
        return new InMemoryTensor(data.ElementType, shape, bytes);
    }

    private static InMemoryTensor? Map(Tensor data, Func<double, double> f) =>
        data.ElementType is ElementType.Float32 or ElementType.Float64
            ? FromFloats(data.ElementType, Array.ConvertAll(data.ToFloat64()!, v => f(v)), [.. data.Shape]) : null;

    private static InMemoryTensor? Combine(string opType, Tensor a, Tensor b)
    {
        var shape = NodeInference.AllConstant(NodeInference.Broadcast([.. a.Shape.Select(Dim.Of)], [.. b.Shape.Select(Dim.Of)]))!.ToArray();
        var count = shape.Aggregate(1L, (p, d) => p * d);
        if (count > MostElements)
            return null;
        var (fromA, fromB) = (Sources(a.Shape, shape, (int)count), Sources(b.Shape, shape, (int)count));
        if (a.ElementType is ElementType.Float32 or ElementType.Float64 && b.ElementType.IsFloat() && Binary.TryGetValue(opType, out var f))
        {
            var (x, y) = (a.ToFloat64()!, b.ToFloat64()!);
            return FromFloats(a.ElementType, [.. Enumerable.Range(0, (int)count).Select(i => f(x[fromA[i]], y[fromB[i]]))], shape);
        }
        if (a.ElementType is ElementType.Int64 or ElementType.Int32 && b.ElementType == a.ElementType && IntegerBinary.TryGetValue(opType, out var g))
        {
            var (x, y) = (a.ToInt64()!, b.ToInt64()!);
            var values = Enumerable.Range(0, (int)count).Select(i => g(x[fromA[i]], y[fromB[i]])).ToArray();
            return values.Any(v => v is null) ? null : FromIntegers(a.ElementType, Array.ConvertAll(values, v => v!.Value), shape);
        }
        return null;
    }

    /// <summary>For each element of the broadcast shape, the element of an operand it is taken from.</summary>
    private static int[] Sources(IReadOnlyList<long> from, long[] shape, int count)
    {
        var sources = new int[count];
        for (var i = 0; i < count; i++)
        {
            long rest = i, stride = 1, at = 0;
            for (var axis = 1; axis <= shape.Length; axis++)
            {
                var index = rest % shape[^axis];
                rest /= shape[^axis];
                if (axis > from.Count)
                    continue;
                at += from[^axis] == 1 ? 0 : index * stride;
                stride *= from[^axis];
            }
            sources[i] = (int)at;
        }
        return sources;
    }
}
