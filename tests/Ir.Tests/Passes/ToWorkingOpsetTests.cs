using SorsaOrt.Ir.Passes;
using Xunit;

namespace SorsaOrt.Ir.Tests;

public sealed class ToWorkingOpsetTests
{
    private readonly PassGraph _g = new();

    private Node Old(string opType, Value[] inputs, int outputs, params NodeAttribute[] attributes) =>
        _g.Op.Emit(opType, "", outputs, inputs, attributes)[0].Producer!;

    [Fact]
    public void Axes_MoveToAnInput()
    {
        var squeeze = Old("Unsqueeze", [_g.Input(2, 3)], 1, NodeAttribute.Of("axes", [1L]));
        var mean = Old("ReduceMean", [squeeze.Output], 1, NodeAttribute.Of("axes", [-1L]), NodeAttribute.Of("keepdims", 0));
        _g.Output(mean.Output);
        var model = _g.Model(12);
        Assert.Equal(2, ToWorkingOpset.Run(model));
        Assert.Equal((21L, 10L), (model.Opset, model.IrVersion));
        Assert.Equal([1L], squeeze.Inputs[1]!.Constant!.ToInt64()!);
        Assert.Equal([-1L], mean.Inputs[1]!.Constant!.ToInt64()!);
        Assert.Equal(["keepdims"], mean.Attributes.Keys);
    }

    [Fact]
    public void ReduceMeanOfOpset18_IsLeftAlone()
    {
        _g.Output(_g.Op.Reduce("ReduceMean", _g.Input(2, 3), true, -1));
        Assert.Equal(0, ToWorkingOpset.Run(_g.Model(18)));
    }

    [Fact]
    public void SplitWithoutLengths_StatesItsParts()
    {
        var split = Old("Split", [_g.Input(6)], 3);
        split.Outputs.ToList().ForEach(o => _g.Graph.AddOutput(o!));
        Assert.Equal(1, ToWorkingOpset.Run(_g.Model(17)));
        Assert.Equal(3, split.Int("num_outputs", 0));
    }

    [Fact]
    public void SoftmaxOverSeveralAxes_IsWrittenOut()
    {
        _g.Output(Old("Softmax", [_g.Input(2, 3, 4)], 1).Output);
        Assert.Equal(1, ToWorkingOpset.Run(_g.Model(11)));
        _g.Graph.RemoveUnused();
        Assert.Equal("Flatten Softmax Shape Reshape -> y", _g.Text);
        Assert.Equal("f32[2,12]", _g.Graph.Nodes[1].Output.Type!.ToString());
    }

    [Theory]
    [InlineData(9, "opset 9")]
    [InlineData(27, "opset 27")]
    [InlineData(0, "imports no version")]
    public void OpsetOutOfRange_IsRefusedWithAdvice(long opset, string expected)
    {
        var failure = Assert.Throws<UnsupportedGraphException>(() => ToWorkingOpset.Run(_g.Model(opset)));
        Assert.Contains(expected, failure.Message, StringComparison.Ordinal);
        Assert.Contains("Export", failure.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void ConstantNodes_BecomeInitializersOfTheSameName()
    {
        var two = Old("Constant", [], 1, NodeAttribute.Of("value_float", 2f)).Output;
        var name = two.Name;
        _g.Output(_g.Op.Mul(_g.Input(2), _g.Op.Unary("Identity", two)));
        Assert.Equal(2, ConstantNodesToInitializers.Run(_g.Graph));
        Assert.Equal([2f], _g.Graph.FindInitializer(name)!.Constant!.ToArray<float>());
        Assert.Equal("Mul -> y", _g.Text);
    }
}
