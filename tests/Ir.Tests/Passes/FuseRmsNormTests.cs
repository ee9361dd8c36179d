using SorsaOrt.Ir.Passes;
using Xunit;

namespace SorsaOrt.Ir.Tests;

public sealed class FuseRmsNormTests
{
    private readonly PassGraph _g = new();

    private Value Norm(Value x, Value weight, string square, string inverse, long axis = -1)
    {
        var op = _g.Op;
        var squared = square == "Pow" ? op.Emit("Pow", [x, _g.F(2)]) : op.Mul(x, x);
        var sum = op.Add(op.Reduce("ReduceMean", squared, true, axis), _g.F(1e-5f));
        var normalized = inverse switch
        {
            "1/sqrt" => op.Mul(x, op.Div(_g.F(1), op.Unary("Sqrt", sum))),
            "Reciprocal" => op.Mul(op.Unary("Reciprocal", op.Unary("Sqrt", sum)), x),
            "x/sqrt" => op.Div(x, op.Unary("Sqrt", sum)),
            "Pow" => op.Mul(x, op.Emit("Pow", [sum, _g.F(-0.5f)])),
            _ => op.Div(x, op.Emit("Pow", [sum, _g.F(0.5f)])),
        };
        return op.Mul(weight, op.Emit("Cast", [normalized], NodeAttribute.Of("to", 1)));
    }

    [Theory]
    [InlineData("Pow", "1/sqrt")]
    [InlineData("Pow", "Reciprocal")]
    [InlineData("Mul", "x/sqrt")]
    [InlineData("Mul", "Pow")]
    [InlineData("Pow", "Pow(1/2)")]
    public void EveryForm_IsRecognised(string square, string inverse)
    {
        var weight = _g.F(1, 2, 3, 4);
        _g.Output(Norm(_g.Input(PassGraph.B, PassGraph.S, 4), weight, square, inverse));
        Assert.Equal("SimplifiedLayerNormalization -> y", _g.After(FuseRmsNorm.Run, 1).Text);
        var node = _g.Graph.Nodes[0];
        Assert.Equal((1e-5f, -1L, weight), (node.Float("epsilon", 0), node.Int("axis", 0), node.Inputs[1]));
        Assert.Equal("f32[b,s,4]", node.Output.Type!.ToString());
    }

    [Fact]
    public void MeanOverAnotherAxis_IsLeftAlone()
    {
        _g.Output(Norm(_g.Input(PassGraph.B, 4, 4), _g.F(1, 2, 3, 4), "Pow", "1/sqrt", axis: 1));
        _g.After(FuseRmsNorm.Run, 0);
    }

    [Fact]
    public void NormOfAnotherValue_IsLeftAlone()
    {
        var (op, x, z) = (_g.Op, _g.Input(2, 4), _g.Input(2, 4));
        var sum = op.Add(op.Reduce("ReduceMean", op.Mul(z, z), true, -1), _g.F(1e-5f));
        _g.Output(op.Mul(_g.F(1, 2, 3, 4), op.Div(x, op.Unary("Sqrt", sum))));
        _g.After(FuseRmsNorm.Run, 0);
    }
}
