namespace SorsaOrt.Ir;

/// <summary>Constants, shapes as data, ranges, random numbers.</summary>
internal static class GeneratorShapes
{
    public static void AddTo(ShapeRuleTable table) => table
        .Add(Constant, "Constant")
        .Add(ConstantOfShape, "ConstantOfShape")
        .Add(Shape, "Shape")
        .Add(Size, "Size")
        .Add(Range, "Range")
        .Add(EyeLike, "EyeLike")
        .Add(Like, "RandomNormalLike", "RandomUniformLike", "Bernoulli")
        .Add(Random, "RandomNormal", "RandomUniform");

    private static void Constant(NodeInference n)
    {
        if (ConstantOf(n.Node) is { } data)
            n.Set(0, data.ElementType, [.. data.Shape.Select(Dim.Of)], NodeInference.ElementsOf(data));
    }

    /// <summary>The data of a Constant node in any of its attribute forms, or null (strings, sparse tensors).</summary>
    internal static Tensor? ConstantOf(Node node)
    {
        foreach (var attribute in node.Attributes.Values)
        {
            Tensor? data = (attribute.Name, attribute.Content) switch
            {
                ("value", Tensor tensor) => tensor,
                ("value_int", long i) => InMemoryTensor.Of([i]),
                ("value_float", float f) => InMemoryTensor.Of([f]),
                ("value_ints", IReadOnlyList<long> ints) => InMemoryTensor.Vector([.. ints]),
                ("value_floats", IReadOnlyList<float> floats) => InMemoryTensor.Of([.. floats], floats.Count),
                _ => null,
            };
            if (data is not null)
                return data;
        }
        return null;
    }

    private static void ConstantOfShape(NodeInference n)
    {
        var fill = n.Node.TensorAttribute("value");
        var shape = n.ElementsOrUnknowns(0);
        IEnumerable<Dim>? elements = null;
        if (shape is { Count: 1 } && shape[0].Value is >= 0 and <= NodeInference.MostElements and var count && fill?.ToInt64() is { Length: 1 } value)
            elements = Enumerable.Repeat(Dim.Of(value[0]), (int)count);
        n.Set(0, fill?.ElementType ?? ElementType.Float32, shape, elements);
    }

    private static void Shape(NodeInference n)
    {
        if (n.Shape(0) is not { } shape)
        {
            n.Set(0, ElementType.Int64, [Dim.Unknown]);
            return;
        }
        var start = Clamp(n.Node.Int("start", 0), shape.Count);
        var end = Clamp(n.Node.Int("end", shape.Count), shape.Count);
        var part = shape.Skip(start).Take(Math.Max(0, end - start)).ToArray();
        n.Set(0, ElementType.Int64, [part.Length], part);
    }

    private static int Clamp(long axis, int rank) => (int)Math.Clamp(axis < 0 ? axis + rank : axis, 0, rank);

    private static void Size(NodeInference n) =>
        n.Set(0, ElementType.Int64, [], n.Shape(0) is { } shape ? [NodeInference.CountOf(shape)] : null);

    private static void Range(NodeInference n)
    {
        Dim start = One(n, 0), limit = One(n, 1), delta = One(n, 2), length = Dim.Unknown;
        IEnumerable<Dim>? elements = null;
        if (start.Value is { } s && limit.Value is { } l && delta.Value is { } d and not 0)
        {
            var count = Math.Max(0, (l - s + d - Math.Sign(d)) / d);
            length = count;
            if (count <= NodeInference.MostElements)
                elements = Enumerable.Range(0, (int)count).Select(i => Dim.Of(s + i * d));
        }
        else if (delta.Is(1))
        {
            length = limit - start;
        }
        n.Set(0, n.ElementType(0), [length], elements);
    }

    private static Dim One(NodeInference n, int input)
    {
        if (n.Elements(input) is { Count: 1 } known)
            return known[0];
        return n.Node.InputOrNull(input) is { } value && (value.Constant ?? (value.Producer is { OpType: "Constant" } p ? ConstantOf(p) : null))
            ?.ScalarValue is { } number && number == Math.Floor(number) && Math.Abs(number) < int.MaxValue ? (long)number : Dim.Unknown;
    }

    private static void EyeLike(NodeInference n)
    {
        var declared = (ElementType)n.Node.Int("dtype", 0);
        n.Set(0, declared == ElementType.Undefined ? n.ElementType(0) : declared, n.Shape(0));
    }

    private static void Like(NodeInference n) => EyeLike(n);

    private static void Random(NodeInference n) =>
        n.Set(0, (ElementType)n.Node.Int("dtype", 1), n.Node.Ints("shape") is { } shape ? [.. shape.Select(Dim.Of)] : null);
}
