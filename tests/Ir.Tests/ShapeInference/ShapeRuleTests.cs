using Xunit;

namespace SorsaOrt.Ir.Tests;

/// <summary>One node at a time: what a rule says of the output, in the text form of <see cref="TensorType"/>.</summary>
public sealed class ShapeRuleTests
{
    private static readonly Dim B = Dim.Symbol("b"), S = Dim.Symbol("s");
    private readonly Graph _graph = new("test");
    private readonly OpBuilder _op;

    public ShapeRuleTests() => _op = new OpBuilder(_graph);

    private Value Input(params Dim[] shape) => Input(ElementType.Float32, shape);

    private Value Input(ElementType type, params Dim[] shape) => _graph.AddInput(_graph.FreeName("x"), new TensorType(type, shape));

    private static string Type(Value value) => value.Type?.ToString() ?? "unknown";

    private static string Elements(Value value) => value.KnownElements is { } e ? string.Join(",", e) : "unknown";

    [Fact]
    public void Add_OnlyConstantOneBroadcasts()
    {
        Assert.Equal("f32[b,s,64]", Type(_op.Add(Input(B, 1, 64), Input(S, 64))));
        Assert.Equal("f32[b,s]", Type(_op.Add(Input(B, S), Input(1, 1))));
        Assert.Equal("f32[7]", Type(_op.Add(Input(S), Input(7))));
        Assert.Equal("f32[s]", Type(_op.Add(Input(S), Input(Dim.Unknown))));
        Assert.Equal("f32[?]", Type(_op.Add(Input(1), Input(Dim.Unknown))));
        Assert.Equal("bool[b,s]", Type(_op.Emit("Less", [Input(B, 1), Input(1, S)])));
    }

    [Theory]
    [InlineData(new long[] { 2, 3, 4 }, new long[] { 4, 5 }, "f32[2,3,5]")]
    [InlineData(new long[] { 6, 1, 3, 4 }, new long[] { 2, 4, 5 }, "f32[6,2,3,5]")]
    [InlineData(new long[] { 4 }, new long[] { 2, 4, 5 }, "f32[2,5]")]
    [InlineData(new long[] { 3, 4 }, new long[] { 4 }, "f32[3]")]
    [InlineData(new long[] { 4 }, new long[] { 4 }, "f32[]")]
    public void MatMul_BatchAxesBroadcastAndVectorsLoseTheirAxis(long[] a, long[] b, string expected) =>
        Assert.Equal(expected, Type(_op.MatMul(Input([.. a.Select(Dim.Of)]), Input([.. b.Select(Dim.Of)]))));

    [Fact]
    public void Gemm_TransposesAsAsked()
    {
        Assert.Equal("f32[s,8]", Type(_op.Gemm(Input(S, 4), Input(4, 8))));
        Assert.Equal("f32[s,8]", Type(_op.Gemm(Input(4, S), Input(8, 4), transA: true, transB: true)));
    }

    [Fact]
    public void FusedMatMul_TransposesMatrixAndBatchAxes()
    {
        var a = _op.Emit("FusedMatMul", "com.microsoft", 1, [Input(B, 8, S, 4), Input(B, 8, 7, 4)], NodeAttribute.Of("transB", 1))[0];
        Assert.Equal("f32[b,8,s,7]", Type(a));
        var b = _op.Emit("FusedMatMul", "com.microsoft", 1, [Input(7, 2, 3, 4), Input(2, 3, 4, 5)], NodeAttribute.Of("transBatchA", 1))[0];
        Assert.Equal("f32[2,3,7,5]", Type(b));
    }

    [Fact]
    public void Reshape_ResolvesMinusOneAndZero()
    {
        Assert.Equal("f32[b,s,8,8]", Type(_op.Reshape(Input(B, S, 64), 0, 0, -1, 8)));
        Assert.Equal("f32[b*s,64]", Type(_op.Reshape(Input(B, S, 64), -1, 64)));
        Assert.Equal("f32[b*s]", Type(_op.Reshape(Input(B, S), -1)));
        Assert.Equal("f32[4,?]", Type(_op.Reshape(Input(B, Dim.Unknown), 4, -1)));
        Assert.Equal("f32[2,3]", Type(_op.Reshape(Input(6), 2, 3)));
    }

    [Fact]
    public void Reshape_ToComputedShapeKeepsSymbols()
    {
        var x = Input(B, S, 64);
        var shape = _op.ShapeOf(x);
        var b = _op.Gather(shape, _op.Integers(0));
        var target = _op.Concat(0, b, _op.Integers(-1), _op.Integers(4), _op.Integers(16));
        Assert.Equal("b,-1,4,16", Elements(target));
        Assert.Equal("f32[b,s,4,16]", Type(_op.Reshape(x, target)));
    }

    [Fact]
    public void Transpose_Permutes() => Assert.Equal("f32[b,8,s,4]", Type(_op.Transpose(Input(B, S, 8, 4), 0, 2, 1, 3)));

    [Fact]
    public void Reduce_KeepsOrDropsAxes()
    {
        Assert.Equal("f32[b,s,1]", Type(_op.ReduceSum(Input(B, S, 64), true, -1)));
        Assert.Equal("f32[s]", Type(_op.ReduceSum(Input(B, S, 64), false, 0, 2)));
        Assert.Equal("f32[]", Type(_op.ReduceSum(Input(B, S, 64), false)));
        Assert.Equal("f32[b,1]", Type(_op.Emit("ReduceMean", [Input(B, S)], NodeAttribute.Of("axes", [1L]))));
    }

    [Fact]
    public void ShapeArithmetic_IsSymbolic()
    {
        var shape = _op.ShapeOf(Input(B, 8, S, 32));
        var s = _op.Squeeze(_op.Slice(shape, 0, 2, 3), 0);
        Assert.Equal("s", Elements(s));
        var half = _op.Div(_op.Slice(shape, 0, -1, long.MaxValue), _op.Integers(2));
        Assert.Equal("16", Elements(half));
        Assert.Equal("b*s", Elements(_op.Mul(_op.Gather(shape, _op.Integers(0)), _op.Gather(shape, _op.Integers(2)))));
        Assert.Equal("s + 1", Elements(_op.Unsqueeze(_op.Add(s, _op.Constant(InMemoryTensor.Of([1L]))), 0)));
        Assert.Equal("256*b*s", Elements(_op.Emit("Size", [Input(B, 8, S, 32)])));
        Assert.Equal("b,8,s", Elements(_op.Emit("Shape", [Input(B, 8, S, 32)], NodeAttribute.Of("end", -1))));
    }

    [Fact]
    public void ExpandShapeOfTorchScript_WhereEqualMinusOneIsDecided()
    {
        // expand(-1, 4, s): Where(Equal(shape, -1), ones, shape).
        var s = _op.Gather(_op.ShapeOf(Input(B, S)), _op.Integers(1));
        var target = _op.Concat(0, _op.Integers(-1), _op.Integers(4), s);
        var minusOne = _op.Mul(_op.Emit("ConstantOfShape", [_op.Integers(3)], NodeAttribute.Of("value", InMemoryTensor.Vector(1))), _op.Integers(-1));
        var chosen = _op.Where(_op.Emit("Equal", [target, minusOne]), _op.Integers(1, 1, 1), target);
        Assert.Equal("1,4,s", Elements(chosen));
        Assert.Equal("f32[b,4,s]", Type(_op.Expand(Input(B, 1, S), chosen)));
    }

    [Fact]
    public void Concat_WithEmptyCacheKeepsTheLength()
    {
        var joined = _op.Concat(2, Input(B, 4, 0, 8), Input(B, 4, S, 8));
        Assert.Equal("f32[b,4,s,8]", Type(joined));
        Assert.Equal("f32[b,4,p + s,8]", Type(_op.Concat(2, Input(B, 4, Dim.Symbol("p"), 8), Input(B, 4, S, 8))));
    }

    [Theory]
    [InlineData(1, 2, 1, "1")]
    [InlineData(0, long.MaxValue, 1, "10")]
    [InlineData(-3, long.MaxValue, 1, "3")]
    [InlineData(0, -1, 1, "9")]
    [InlineData(-1, long.MinValue, -1, "10")]
    [InlineData(8, 20, 3, "1")]
    [InlineData(5, 2, 1, "0")]
    public void Slice_OfAKnownLengthClampsAsOnnxDoes(long start, long end, long step, string expected) =>
        Assert.Equal(expected, SliceLength(10, start, end, step));

    private string SliceLength(Dim length, long start, Dim end, long step)
    {
        var ends = end.Value is { } constant ? _op.Integers(constant) : _op.ShapeOf(Input(end));
        return _op.Emit("Slice", [Input(length), _op.Integers(start), ends, _op.Integers(0), _op.Integers(step)]).Shape![0].ToString();
    }

    [Fact]
    public void Slice_OfASymbolicLength()
    {
        Assert.Equal("s", SliceLength(S, 0, long.MaxValue, 1));
        Assert.Equal("s + -1", SliceLength(S, 1, long.MaxValue, 1));
        Assert.Equal("s", SliceLength(128, 0, S, 1));
        Assert.Equal("1", SliceLength(S, -1, long.MaxValue, 1));
        Assert.Equal("?", SliceLength(S, 0, 5, 1));
    }

    [Fact]
    public void Split_GivenLengthsAndEqualParts()
    {
        Assert.Equal(["f32[b,48]", "f32[b,16]"], _op.Split(Input(B, 64), -1, 48, 16).Select(Type));
        var parts = _op.Emit("Split", "", 3, [Input(7)], NodeAttribute.Of("num_outputs", 3));
        Assert.Equal(["f32[3]", "f32[3]", "f32[1]"], parts.Select(Type));
    }

    [Fact]
    public void Indexing_Shapes()
    {
        var ids = Input(ElementType.Int64, B, S);
        Assert.Equal("f32[b,s,64]", Type(_op.Gather(Input(512, 64), ids)));
        Assert.Equal("f32[b,s]", Type(_op.Emit("GatherElements", [Input(B, 512), ids], NodeAttribute.Of("axis", 1))));
        Assert.Equal("f32[s,64]", Type(_op.Emit("GatherND", [Input(B, S, 64), Input(ElementType.Int64, S, 2)])));
        Assert.Equal("f32[b,s,512]", Type(_op.Emit("OneHot", [ids, _op.Constant(InMemoryTensor.Of([512L])), Input(2)])));
        Assert.Equal("f32[b,4]", Type(_op.Emit("TopK", "", 2, [Input(B, S), _op.Integers(4)])[0]));
        Assert.Equal("f32[b,s,64]", Type(_op.Emit("ScatterND", [Input(B, S, 64), Input(ElementType.Int64, 5, 2), Input(5, 64)])));
    }

    [Fact]
    public void FusedOperators_Shapes()
    {
        Value Ms(string opType, Value?[] inputs, params NodeAttribute[] attributes) => _op.Emit(opType, "com.microsoft", 4, inputs, attributes)[0];
        Assert.Equal("f32[b,s,128]", Type(Ms("GroupQueryAttention", [Input(B, S, 256), null, null, Input(B, 4, 0, 16)],
            NodeAttribute.Of("num_heads", 8), NodeAttribute.Of("kv_num_heads", 4))));
        Assert.Equal("f32[b,s,172]", Type(Ms("MatMulNBits", [Input(B, S, 64), Input(ElementType.UInt8, 172, 2, 16)], NodeAttribute.Of("N", 172))));
        Assert.Equal("f32[b,s,64]", Type(_op.Emit("SimplifiedLayerNormalization", [Input(B, S, 64), Input(64)])));
        Assert.Equal("f32[b,8,s,4]", Type(_op.Emit("Attention", [Input(B, 8, S, 4), Input(B, 8, S, 4), Input(B, 8, S, 4)])));
        Assert.Equal("f32[b,s,64]", Type(Ms("GatherBlockQuantized", [Input(ElementType.UInt8, 512, 32), Input(ElementType.Int64, B, S), Input(512, 2)],
            NodeAttribute.Of("bits", 4))));
    }

    [Fact]
    public void UnknownOperator_IsLeftAlone()
    {
        var y = _op.Emit("Frobnicate", "example", 1, [Input(B)])[0];
        Assert.Null(y.Type);
        Assert.Equal("unknown", Type(_op.Emit("Neg", [y])));
    }

    [Fact]
    public void ContradictoryNode_IsRefusedByName()
    {
        var failure = Assert.Throws<ModelFormatException>(() => _op.Transpose(Input(B, S), 0, 2));
        Assert.Contains("sorsa/Transpose", failure.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void DeclaredConstant_IsKeptWhereInferenceFindsASymbol()
    {
        var y = _graph.NewValue("y", new TensorType(ElementType.Float32, [B, 64]));
        ShapeInference.Infer(_graph.AddNode("Abs", [Input(B, S)], [y]));
        Assert.Equal("f32[b,64]", Type(y));
    }
}
