using System.Runtime.InteropServices;

namespace SorsaOrt.Ir;

/// <summary>Appends nodes of the standard operator set 21 to a graph and infers the type of what they give.</summary>
/// <remarks>
/// Opset 21 is the one dialect that rewrites, gradients and losses are written in: <see cref="WorkingOpset"/>. New values are
/// named <c>scope/Op</c>, made unique by a number, so that the same rewrites give the same names.
/// </remarks>
public sealed class OpBuilder
{
    /// <summary>The operator set of graphs under rewrite: the newest that the official training runtime (1.19.2) accepts.</summary>
    public const int WorkingOpset = 21;

    private readonly Dictionary<(ElementType, string Shape, string Bytes), Value> _constants = [];

    /// <summary>A builder for <paramref name="graph"/>.</summary>
    public OpBuilder(Graph graph) => Graph = graph;

    /// <summary>The graph that nodes are appended to.</summary>
    public Graph Graph { get; }

    /// <summary>Prefix of the names of new nodes and values.</summary>
    public string Scope { get; set; } = "sorsa";

    /// <summary>Appends a node with one output and infers its type.</summary>
    public Value Emit(string opType, IEnumerable<Value?> inputs, params IEnumerable<NodeAttribute> attributes) =>
        Emit(opType, "", 1, inputs, attributes)[0];

    /// <summary>Appends a node of any domain with several outputs and infers their types.</summary>
    public IReadOnlyList<Value> Emit(string opType, string domain, int outputCount, IEnumerable<Value?> inputs, params IEnumerable<NodeAttribute> attributes)
    {
        var name = Graph.FreeName($"{Scope}/{opType}");
        var outputs = new Value[outputCount];
        for (var i = 0; i < outputCount; i++)
            outputs[i] = Graph.NewValue(i == 0 ? name : Graph.FreeName($"{name}:{i}"));
        var node = Graph.AddNode(opType, inputs, outputs, domain, name);
        foreach (var attribute in attributes)
            node.Attributes[attribute.Name] = attribute;
        ShapeInference.Infer(node);
        return outputs;
    }

    /// <summary>A constant; equal small constants are shared.</summary>
    public Value Constant(InMemoryTensor tensor)
    {
        if (tensor.ByteLength > 1024)
            return Graph.AddInitializer(Graph.FreeName($"{Scope}/Constant"), tensor);
        var key = (tensor.ElementType, string.Join(',', tensor.Shape), Convert.ToBase64String(tensor.Bytes));
        if (!_constants.TryGetValue(key, out var value) || value.Constant is null || Graph.FindInitializer(value.Name) != value)
        {
            value = Graph.AddInitializer(Graph.FreeName($"constant/{tensor.ElementType.ShortName()}"), tensor);
            if (tensor.ElementType == ElementType.Int64 && tensor.Shape.Count <= 1)
                value.KnownElements = [.. MemoryMarshal.Cast<byte, long>(tensor.Bytes).ToArray().Select(Dim.Of)];
            _constants[key] = value;
        }
        return value;
    }

    /// <summary>A rank-1 constant of 64-bit integers: axes, shapes, pads.</summary>
    public Value Integers(params ReadOnlySpan<long> values) => Constant(InMemoryTensor.Vector(values));

    /// <summary>A scalar constant of the element type of <paramref name="like"/>.</summary>
    public Value Scalar(double value, Value like) => Constant(InMemoryTensor.Scalar(like.ElementType, value));

    /// <summary>Elementwise sum, broadcasting.</summary>
    public Value Add(Value a, Value b) => Emit("Add", [a, b]);

    /// <summary>Elementwise difference, broadcasting.</summary>
    public Value Sub(Value a, Value b) => Emit("Sub", [a, b]);

    /// <summary>Elementwise product, broadcasting.</summary>
    public Value Mul(Value a, Value b) => Emit("Mul", [a, b]);

    /// <summary>Elementwise quotient, broadcasting.</summary>
    public Value Div(Value a, Value b) => Emit("Div", [a, b]);

    /// <summary>Elementwise product with a number.</summary>
    public Value Mul(Value a, double b) => Emit("Mul", [a, Scalar(b, a)]);

    /// <summary>Elementwise sum with a number.</summary>
    public Value Add(Value a, double b) => Emit("Add", [a, Scalar(b, a)]);

    /// <summary>A node with one input and one output of the same shape: Neg, Exp, Log, Sqrt, Sigmoid, Tanh, …</summary>
    public Value Unary(string opType, Value x) => Emit(opType, [x]);

    /// <summary>Matrix product over the last two axes, broadcasting the others.</summary>
    public Value MatMul(Value a, Value b) => Emit("MatMul", [a, b]);

    /// <summary>alpha·a'·b' + c of matrices, where ' transposes as asked.</summary>
    public Value Gemm(Value a, Value b, Value? c = null, bool transA = false, bool transB = false, float alpha = 1)
    {
        var attributes = new List<NodeAttribute>();
        if (alpha != 1)
            attributes.Add(NodeAttribute.Of("alpha", alpha));
        if (transA)
            attributes.Add(NodeAttribute.Of("transA", 1));
        if (transB)
            attributes.Add(NodeAttribute.Of("transB", 1));
        return Emit("Gemm", c is null ? [a, b] : [a, b, c], attributes);
    }

    /// <summary>Permutes axes.</summary>
    public Value Transpose(Value x, params long[] permutation) => Emit("Transpose", [x], NodeAttribute.Of("perm", permutation));

    /// <summary>Swaps the last two axes; the rank must be known.</summary>
    public Value SwapLastAxes(Value x)
    {
        var rank = x.Shape?.Count ?? throw new UnsupportedGraphException($"the rank of '{x.Name}' is not known");
        var permutation = Enumerable.Range(0, rank).Select(i => (long)i).ToArray();
        (permutation[^1], permutation[^2]) = (permutation[^2], permutation[^1]);
        return Transpose(x, permutation);
    }

    /// <summary>Reshapes to constant lengths; 0 keeps an axis, one −1 is computed.</summary>
    public Value Reshape(Value x, params ReadOnlySpan<long> shape) => Emit("Reshape", [x, Integers(shape)]);

    /// <summary>Reshapes to a computed shape.</summary>
    public Value Reshape(Value x, Value shape) => Emit("Reshape", [x, shape]);

    /// <summary>Reshapes to the shape of <paramref name="like"/>, with constants where they are known.</summary>
    public Value ReshapeLike(Value x, Value like)
    {
        if (like.Shape is { } shape && shape.Count(d => d.Value is null) <= 1 && shape.All(d => !d.Is(0)))
            return Reshape(x, [.. shape.Select(d => d.Value ?? -1)]);
        var result = Reshape(x, ShapeOf(like));
        result.Type = new TensorType(x.ElementType, like.Shape);
        return result;
    }

    /// <summary>A value with the bits of <paramref name="x"/> that does not exist before <paramref name="gate"/>, of the same shape, does.</summary>
    /// <remarks>Reshape(x, Shape(gate)): no byte is moved, but ONNX Runtime can neither run what reads it earlier nor merge that with what reads x itself.</remarks>
    public Value Behind(Value x, Value gate)
    {
        var result = Reshape(x, ShapeOf(gate));
        result.Type = x.Type;
        return result;
    }

    /// <summary>The shape as a rank-1 tensor of 64-bit integers.</summary>
    public Value ShapeOf(Value x) => Emit("Shape", [x]);

    /// <summary>Rows of <paramref name="data"/> along <paramref name="axis"/>.</summary>
    public Value Gather(Value data, Value indices, long axis = 0) => Emit("Gather", [data, indices], NodeAttribute.Of("axis", axis));

    /// <summary>Sum over axes.</summary>
    public Value ReduceSum(Value x, bool keepDims, params ReadOnlySpan<long> axes) => Reduce("ReduceSum", x, keepDims, axes);

    /// <summary>A reduction (ReduceSum, ReduceMean, ReduceMax, ReduceSumSquare, …) over axes; all axes when none is given.</summary>
    public Value Reduce(string opType, Value x, bool keepDims, params ReadOnlySpan<long> axes) =>
        Emit(opType, axes.IsEmpty ? [x] : [x, Integers(axes)], NodeAttribute.Of("keepdims", keepDims ? 1 : 0));

    /// <summary>Converts the element type; the value itself when it has that type already.</summary>
    public Value Cast(Value x, ElementType to) => x.ElementType == to ? x : Emit("Cast", [x], NodeAttribute.Of("to", (long)to));

    /// <summary>Elementwise choice, broadcasting.</summary>
    public Value Where(Value condition, Value whenTrue, Value whenFalse) => Emit("Where", [condition, whenTrue, whenFalse]);

    /// <summary>Joins along an axis.</summary>
    public Value Concat(long axis, params IEnumerable<Value> parts) => Emit("Concat", parts, NodeAttribute.Of("axis", axis));

    /// <summary>Cuts along an axis into parts of given lengths.</summary>
    public IReadOnlyList<Value> Split(Value x, long axis, params ReadOnlySpan<long> lengths) =>
        Emit("Split", "", lengths.Length, [x, Integers(lengths)], NodeAttribute.Of("axis", axis));

    /// <summary>Elements from <paramref name="start"/> to before <paramref name="end"/> along one axis.</summary>
    public Value Slice(Value x, long axis, long start, long end) => Emit("Slice", [x, Integers(start), Integers(end), Integers(axis)]);

    /// <summary>Repeats axes of length 1 to a computed shape.</summary>
    public Value Expand(Value x, Value shape) => Emit("Expand", [x, shape]);

    /// <summary>Inserts axes of length 1.</summary>
    public Value Unsqueeze(Value x, params ReadOnlySpan<long> axes) => Emit("Unsqueeze", [x, Integers(axes)]);

    /// <summary>Removes axes of length 1.</summary>
    public Value Squeeze(Value x, params ReadOnlySpan<long> axes) => Emit("Squeeze", [x, Integers(axes)]);

    /// <summary>Exponentials that sum to 1 along an axis.</summary>
    public Value Softmax(Value x, long axis) => Emit("Softmax", [x], NodeAttribute.Of("axis", axis));
}
