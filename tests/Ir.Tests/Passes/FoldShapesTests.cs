using SorsaOrt.Ir.Passes;
using Xunit;

namespace SorsaOrt.Ir.Tests;

public sealed class FoldShapesTests
{
    private readonly PassGraph _g = new();

    [Fact]
    public void KnownContents_BecomeInitializers()
    {
        var x = _g.Input(PassGraph.B, PassGraph.S, 64);
        var half = _g.Op.Div(_g.Op.Gather(_g.Op.ShapeOf(x), _g.Op.Integers(2)), _g.Op.Integers(2));
        _g.Output(_g.Op.Emit("Slice", [x, _g.Op.Integers(0), half, _g.Op.Integers(2)]));
        Assert.Equal("Slice -> y", _g.After(FoldShapes.Run, 2).Text);   // Gather and Div
        Assert.Equal([32L], _g.Graph.Nodes[0].Inputs[2]!.Constant!.ToInt64()!);
    }

    [Fact]
    public void SymbolicContents_StayComputed()
    {
        var x = _g.Input(PassGraph.B, PassGraph.S);
        _g.Output(_g.Op.Reshape(_g.Input(6), _g.Op.ShapeOf(x)));
        Assert.Equal("Shape Reshape -> y", _g.After(FoldShapes.Run, 0).Text);
    }

    [Fact]
    public void EmptyCache_LeavesTheConcat()
    {
        var (past, x) = (_g.Input(PassGraph.B, 4, 0, 8), _g.Input(PassGraph.B, 4, PassGraph.S, 8));
        _g.Output(_g.Op.Concat(2, past, x));
        Assert.Equal("Concat -> y", _g.After(FoldShapes.Run, 1).Text);
        Assert.Equal([x], _g.Graph.Nodes[0].Inputs);
        Assert.Empty(past.Uses);
    }

    [Fact]
    public void ConstantArithmetic_FoldsInAChain()
    {
        var op = _g.Op;
        var root = op.Unary("Sqrt", op.Cast(op.Gather(op.ShapeOf(_g.Input(PassGraph.B, 16)), op.Integers(1)), ElementType.Float32));
        var scale = op.Div(_g.F(1), root);
        _g.Output(op.Mul(_g.Input(3), scale));
        Assert.Equal("Mul -> y", _g.After(FoldShapes.Run, 4).Text);
        Assert.Equal([0.25f], _g.Graph.Nodes[0].Inputs[1]!.Constant!.ToArray<float>());
    }

    [Fact]
    public void ConstantArithmetic_Broadcasts()
    {
        var a = _g.Op.Constant(InMemoryTensor.Of([1f, 2f], 2, 1));
        _g.Output(_g.Op.Mul(_g.Input(2, 3), _g.Op.Add(a, _g.F(10, 20, 30))));
        _g.After(FoldShapes.Run, 1);
        Assert.Equal([11f, 21f, 31f, 12f, 22f, 32f], _g.Graph.Nodes[0].Inputs[1]!.Constant!.ToArray<float>());
    }

    [Fact]
    public void FloatMatrix_IsLeftAlone()
    {
        var w = _g.Graph.AddInitializer("w", InMemoryTensor.Of([1f, 2f, 3f, 4f], 2, 2));
        _g.Output(_g.Op.MatMul(_g.Input(3, 2), _g.Op.Mul(w, _g.F(2))));
        Assert.Equal("Mul MatMul -> y", _g.After(FoldShapes.Run, 0).Text);
    }

    [Fact]
    public void GraphOutput_StaysComputed()
    {
        _g.Output(_g.Op.ShapeOf(_g.Input(2, 3)));
        Assert.Equal("Shape -> y", _g.After(FoldShapes.Run, 0).Text);
    }
}
