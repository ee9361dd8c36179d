using SorsaOrt.Ir.Passes;
using Xunit;

namespace SorsaOrt.Ir.Tests;

public sealed class CommonSubexpressionsTests
{
    private readonly PassGraph _g = new();

    [Fact]
    public void EqualNodesOverEqualConstants_Merge()
    {
        var x = _g.Input(2);
        var (a, b) = (_g.Op.Mul(x, _g.F(3)), _g.Op.Mul(x, _g.F(3)));
        _g.Output(_g.Op.Add(_g.Op.Unary("Exp", a), _g.Op.Unary("Exp", b)));
        Assert.Equal("Mul Exp Add -> y", _g.After(CommonSubexpressions.Run, 3).Text);
        Assert.Single(_g.Graph.Initializers);
    }

    [Fact]
    public void DifferentAttributesOrTypes_DoNotMerge()
    {
        var x = _g.Input(2, 3);
        var sum = _g.Op.Add(_g.Op.Softmax(x, 0), _g.Op.Softmax(x, 1));
        _g.Output(_g.Op.Add(sum, _g.Op.Cast(_g.Op.Constant(InMemoryTensor.Of([0L])), ElementType.Float32)));
        Assert.Equal("Softmax Softmax Add Cast Add -> y", _g.After(CommonSubexpressions.Run, 0).Text);
    }

    [Fact]
    public void RandomNodes_DoNotMerge()
    {
        var x = _g.Input(2);
        _g.Output(_g.Op.Sub(_g.Op.Unary("RandomNormalLike", x), _g.Op.Unary("RandomNormalLike", x)));
        Assert.Equal("RandomNormalLike RandomNormalLike Sub -> y", _g.After(CommonSubexpressions.Run, 0).Text);
    }

    [Fact]
    public void OutputName_SurvivesTheMerge()
    {
        var x = _g.Input(2);
        var (a, b) = (_g.Op.Unary("Exp", x), _g.Op.Unary("Exp", x));
        _g.Output(_g.Op.Unary("Log", a), "first");
        _g.Output(b, "second");
        Assert.Equal("Exp Log -> first,second", _g.After(CommonSubexpressions.Run, 1).Text);
    }

    [Fact]
    public void TwoOutputs_StayTwo()
    {
        var x = _g.Input(2);
        _g.Output(_g.Op.Unary("Exp", x), "first");
        _g.Output(_g.Op.Unary("Exp", x), "second");
        Assert.Equal("Exp Exp -> first,second", _g.After(CommonSubexpressions.Run, 0).Text);
    }
}
