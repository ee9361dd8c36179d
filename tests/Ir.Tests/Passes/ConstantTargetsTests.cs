using SorsaOrt.Ir.Passes;
using Xunit;

namespace SorsaOrt.Ir.Tests;

public sealed class ConstantTargetsTests
{
    private readonly PassGraph _g = new();

    private Value Length(Value x, long axis) => _g.Op.Gather(_g.Op.ShapeOf(x), _g.Op.Integers(axis));

    [Fact]
    public void Reshape_CopiesAxesAndLeavesOneOpen()
    {
        var (op, x) = (_g.Op, _g.Input(PassGraph.B, PassGraph.S, 64));
        _g.Output(op.Reshape(x, op.Concat(0, Length(x, 0), op.Mul(Length(x, 1), op.Integers(2)), op.Integers(32))));
        Assert.Equal("Reshape -> y", _g.After(ConstantTargets.Run, 1).Text);
        Assert.Equal([0L, -1L, 32L], _g.Graph.Nodes[0].Inputs[1]!.Constant!.ToInt64()!);
    }

    [Fact]
    public void Reshape_WithTwoOpenLengthsStaysComputed()
    {
        var (op, x) = (_g.Op, _g.Input(PassGraph.B, PassGraph.S));
        _g.Output(op.Reshape(x, op.Concat(0, Length(x, 1), Length(x, 0))));
        _g.After(ConstantTargets.Run, 0);
    }

    [Fact]
    public void Expand_KeepsAxesOfTheInput()
    {
        var (op, x) = (_g.Op, _g.Input(PassGraph.B, 1, PassGraph.S));
        _g.Output(op.Expand(x, op.Concat(0, Length(x, 0), op.Integers(2), Length(x, 2))));
        Assert.Equal("Expand -> y", _g.After(ConstantTargets.Run, 1).Text);
        Assert.Equal([1L, 2L, 1L], _g.Graph.Nodes[0].Inputs[1]!.Constant!.ToInt64()!);
    }

    [Fact]
    public void Expand_ToTheLengthOfAnotherTensorStaysComputed()
    {
        var (op, x) = (_g.Op, _g.Input(PassGraph.B, PassGraph.S));
        _g.Output(op.Expand(_g.Input(1, 4), op.Concat(0, Length(x, 1), op.Integers(4))));
        _g.After(ConstantTargets.Run, 0);
    }

    [Fact]
    public void EqualContents_MergesLengthsFromDifferentTensors()
    {
        var (op, x, z) = (_g.Op, _g.Input(PassGraph.B, PassGraph.S), _g.Input(PassGraph.S, 4));
        var target = op.Concat(0, op.Add(Length(x, 1), op.Integers(1)), op.Add(Length(z, 0), op.Integers(1)));
        _g.Output(op.Expand(_g.Input(1), target));
        Assert.Equal("Shape Gather Add Concat Expand -> y", _g.After(EqualContents.Run, 2).Text);
    }
}
