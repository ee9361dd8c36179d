using SorsaOrt.Ir;

namespace SorsaOrt.Autodiff;

/// <summary>What a gradient rule works with: a builder, what is wanted, and what is known about forward values.</summary>
public sealed class GradientContext
{
    private readonly GradientPath _path;
    private readonly Value _loss;
    private readonly Dictionary<Value, Value> _sums;
    private readonly Dictionary<Value, Value> _shapes = [];

    internal GradientContext(OpBuilder op, GradientPath path, Value loss, Dictionary<Value, Value> sums)
    {
        Op = op;
        _path = path;
        _loss = loss;
        _sums = sums;
    }

    /// <summary>Appends gradient nodes to the graph.</summary>
    public OpBuilder Op { get; }

    /// <summary>Stands in a rule's answer for an input whose share is contained in the gradient of another input.</summary>
    public static Value Absorbed { get; } = new Graph("").NewValue("");

    /// <summary>Whether a wanted parameter lies behind <paramref name="input"/>. False for constants, integers, and left-out inputs.</summary>
    public bool Wants(Value? input) => input is not null && _path.Carries(input);

    /// <summary>Takes what has been summed so far of the gradient of <paramref name="value"/>: the rule's answer must contain it.</summary>
    /// <remarks>A gather's gradient is scattered into that sum instead of into zeros.</remarks>
    public Value? TakeSum(Value value) => _sums.Remove(value, out var sum) ? sum : null;

    /// <summary>The rank of a forward value.</summary>
    public int Rank(Value value) => value.Shape?.Count ?? throw new UnsupportedGraphException(
        $"SORSA2005: the rank of '{value.Name}' is not known{Environment.NewLine}  do  give its shape in the model's value_info, or export with shape inference");

    /// <summary>The shape of a forward value: a constant where all of it is known, else a Shape node, made once.</summary>
    public Value ShapeOf(Value value)
    {
        if (value.Type?.StaticShape is { } shape)
            return Op.Integers(shape);
        if (!_shapes.TryGetValue(value, out var result))
            _shapes[value] = result = Op.ShapeOf(value);
        return result;
    }

    /// <summary>Reshapes to the shape of <paramref name="like"/>: axes in place are kept, one unknown length is left to be computed.</summary>
    public Value ReshapeLike(Value x, Value like)
    {
        Rank(like);
        var lengths = like.Shape!.Select((d, i) => d.Value is > 0 and { } n ? n
            : x.Shape is { } from && i < from.Count && Dim.Same(from[i], d) ? 0 : -1).ToArray();
        var shape = lengths.Count(n => n == -1) <= 1 ? Op.Integers(lengths) : ShapeOf(like);
        return Typed(Op.Reshape(x, shape), x.ElementType, like.Shape);
    }

    /// <summary>Reshapes one number per row of <paramref name="like"/>, in that order, to its shape with 1 as the last length; null where more than one length is unknown.</summary>
    public Value? RowsLike(Value x, Value like)
    {
        IReadOnlyList<Dim> shape = [.. like.Shape!.SkipLast(1), Dim.Of(1)];
        if (x.Shape!.Count == shape.Count && x.Shape.Zip(shape).All(d => Dim.Same(d.First, d.Second)))
            return x;
        var lengths = shape.Select((d, i) => d.Value is > 0 and { } n ? n : i < x.Shape.Count && Dim.Same(x.Shape[i], d) ? 0 : -1).ToArray();
        return lengths.Count(n => n == -1) <= 1 ? Typed(Op.Reshape(x, lengths), x.ElementType, shape) : null;
    }

    /// <summary>Repeats <paramref name="x"/>, which broadcasts to it, to the shape of <paramref name="like"/>.</summary>
    public Value ExpandLike(Value x, Value like) =>
        x.Type is not null && x.Type.Equals(like.Type) ? x : Typed(Op.Expand(x, ShapeOf(like)), x.ElementType, like.Shape);

    /// <summary>Zeros in the type and shape of <paramref name="like"/>.</summary>
    public Value ZerosLike(Value like) => Typed(
        Op.Emit("ConstantOfShape", [ShapeOf(like)], NodeAttribute.Of("value", InMemoryTensor.Scalar(like.ElementType, 0, 1))), like.ElementType, like.Shape);

    /// <summary>A matrix [-1, n] of the last axis of length n against all others.</summary>
    public Value Rows(Value x) => Rank(x) == 2 ? x
        : x.Shape![^1].Value is > 0 and { } n ? Op.Reshape(x, -1, n) : Op.Emit("Flatten", [x], NodeAttribute.Of("axis", -1));

    /// <summary>The elements of an integer tensor that is constant, or that shape inference knows; else null.</summary>
    public static IReadOnlyList<long>? Integers(Value? value)
    {
        if (ConstantOf(value)?.ToInt64() is { } constant)
            return constant;
        return value?.KnownElements is { } known && known.All(d => d.Value.HasValue) ? [.. known.Select(d => d.Value!.Value)] : null;
    }

    /// <summary>The number that a constant tensor with one element holds; else null.</summary>
    public static double? Number(Value? value) => ConstantOf(value)?.ScalarValue;

    /// <summary>An axis counted from the front.</summary>
    public int Axis(Node node, Value of, long fallback) => (int)FromFront(node.Int("axis", fallback), Rank(of));

    /// <summary>An axis counted from the front, where a negative one counts from the back.</summary>
    public static long FromFront(long axis, int rank) => axis < 0 ? axis + rank : axis;

    /// <summary>The exception for a node whose rule does not cover what it does.</summary>
    public UnsupportedGraphException Refusal(Node node, string why, string advice) =>
        new(_path.Describe(node, $"no gradient of '{node.OpType}' where {why}", _loss, advice));

    private static Tensor? ConstantOf(Value? value) => value?.Constant ?? (value?.Producer switch
    {
        { OpType: "Constant", Domain: "" } constant => constant.TensorAttribute("value"),
        { OpType: "Identity", Domain: "" } identity => identity.Inputs[0]?.Constant,
        _ => null,
    });

    private static Value Typed(Value value, ElementType type, IReadOnlyList<Dim>? shape)
    {
        value.Type = new TensorType(type, shape);
        return value;
    }
}
