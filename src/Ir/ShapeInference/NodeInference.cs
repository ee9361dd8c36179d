namespace SorsaOrt.Ir;

/// <summary>What is known of the inputs of one node, and where a rule puts what follows for its outputs.</summary>
internal sealed class NodeInference(Node node)
{
    /// <summary>Contents are followed up to this many elements: shapes, axes, indices.</summary>
    public const int MostElements = 64;

    public Node Node => node;

    public int OutputCount => node.Outputs.Count;

    public bool Has(int input) => node.InputOrNull(input) is not null;

    public ElementType ElementType(int input) => node.InputOrNull(input)?.ElementType ?? Ir.ElementType.Undefined;

    public IReadOnlyList<Dim>? Shape(int input) => node.InputOrNull(input) is not { } value ? null
        : value.Shape ?? (value.Constant is { } data ? [.. data.Shape.Select(Dim.Of)] : null);

    /// <summary>Contents of a small integer or bool input, as far as known.</summary>
    public IReadOnlyList<Dim>? Elements(int input) => node.InputOrNull(input) is not { } value ? null
        : value.KnownElements ?? (value.Constant is { } data ? ElementsOf(data) : null);

    /// <summary>Contents, or as many unknowns as the input has elements; null where not even the number is known.</summary>
    public IReadOnlyList<Dim>? ElementsOrUnknowns(int input)
    {
        if (Elements(input) is { } known)
            return known;
        return Shape(input) is { Count: <= 1 } shape && CountOf(shape).Value is >= 0 and <= MostElements and var count
            ? [.. Enumerable.Repeat(Dim.Unknown, (int)count)] : null;
    }

    /// <summary>Contents when all of them are constants.</summary>
    public IReadOnlyList<long>? Constants(int input) => AllConstant(Elements(input));

    /// <summary>Axes of an operator that takes them as an attribute in old opsets and as an input since; null when absent or not known.</summary>
    public IReadOnlyList<long>? Axes(int input, string attribute = "axes") => node.Ints(attribute) ?? Constants(input);

    /// <summary>Refuses two inputs of different element types; one that is not known fits any.</summary>
    public void RequireSameType(int first, int second)
    {
        var (a, b) = (ElementType(first), ElementType(second));
        if (a != b && a != Ir.ElementType.Undefined && b != Ir.ElementType.Undefined)
            throw new ArgumentException($"its inputs are of the types {a.ShortName()} and {b.ShortName()}");
    }

    /// <summary>Records what a rule found; a constant length declared before is kept where the rule found a symbol or nothing.</summary>
    public void Set(int output, ElementType type, IReadOnlyList<Dim>? shape, IEnumerable<Dim>? elements = null)
    {
        if (output >= node.Outputs.Count || node.Outputs[output] is not { } value)
            return;
        if (type == Ir.ElementType.Undefined)
            type = value.ElementType;
        var merged = shape is null ? value.Shape : Merge(shape, value.Shape);
        value.Type = type == Ir.ElementType.Undefined && merged is null ? value.Type : new TensorType(type, merged);
        if (elements is not null && type is Ir.ElementType.Int64 or Ir.ElementType.Int32 or Ir.ElementType.Bool && merged is { Count: <= 1 })
            SetElements(value, [.. elements]);
    }

    /// <summary>Number of elements of a shape.</summary>
    public static Dim CountOf(IEnumerable<Dim> shape) => shape.Aggregate(Dim.Of(1), (product, d) => product * d);

    /// <summary>The axis counted from the front.</summary>
    /// <exception cref="ArgumentException">It lies outside the rank.</exception>
    public static int Axis(long axis, int rank)
    {
        var fromFront = axis < 0 ? axis + rank : axis;
        return fromFront >= 0 && fromFront < rank ? (int)fromFront
            : throw new ArgumentException($"axis {axis} of a tensor with {rank} axes");
    }

    /// <summary>Broadcast shape of any number of operands; null where a rank is unknown.</summary>
    public static IReadOnlyList<Dim>? Broadcast(params ReadOnlySpan<IReadOnlyList<Dim>?> shapes)
    {
        var result = new List<Dim>();
        foreach (var shape in shapes)
        {
            if (shape is null)
                return null;
            while (result.Count < shape.Count)
                result.Insert(0, 1);
            for (var i = 1; i <= shape.Count; i++)
                result[^i] = Broadcast(result[^i], shape[^i]);
        }
        return result;
    }

    /// <summary>Length of an axis after broadcasting: a constant other than 1 wins, then a symbol; 1 with an unknown is unknown.</summary>
    public static Dim Broadcast(Dim a, Dim b)
    {
        if (a.Is(1))
            return b;
        if (b.Is(1) || a.Value is not null)
            return a;
        return b.Value is not null || !a.IsKnown ? b : a;
    }

    public static IReadOnlyList<long>? AllConstant(IReadOnlyList<Dim>? elements) =>
        elements is not null && elements.All(e => e.Value.HasValue) ? [.. elements.Select(e => e.Value!.Value)] : null;

    /// <summary>Contents of a small constant of integers or truth values with at most one axis.</summary>
    public static IReadOnlyList<Dim>? ElementsOf(Tensor data) =>
        data.Shape.Count <= 1 && data.ElementCount <= MostElements
            && data.ElementType is Ir.ElementType.Int64 or Ir.ElementType.Int32 or Ir.ElementType.Bool && data.ToInt64() is { } numbers
            ? [.. numbers.Select(Dim.Of)] : null;

    private static void SetElements(Value value, IReadOnlyList<Dim> elements)
    {
        if (elements.Count > MostElements || (elements.Count > 0 && !elements.Any(e => e.IsKnown)))
            return;
        if (value.Shape is { Count: 1 } shape && shape[0].Value is null)
            value.Type = new TensorType(value.ElementType, [elements.Count]);
        if (CountOf(value.Shape!).Is(elements.Count))
            value.KnownElements = elements;
    }

    private static IReadOnlyList<Dim> Merge(IReadOnlyList<Dim> found, IReadOnlyList<Dim>? declared)
    {
        if (declared is null || declared.Count != found.Count)
            return found;
        var merged = new Dim[found.Count];
        for (var i = 0; i < merged.Length; i++)
            merged[i] = found[i].Value is null && (declared[i].Value is not null || !found[i].IsKnown) ? declared[i] : found[i];
        return merged;
    }
}
