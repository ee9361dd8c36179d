using SorsaOrt.Ir.Passes;
using Xunit;

namespace SorsaOrt.Ir.Tests;

public sealed class RemoveNoOpsTests
{
    private readonly PassGraph _g = new();

    private string After(int changed) => _g.After(RemoveNoOps.Run, changed).Text;

    public static TheoryData<string> NoOps => ["Identity", "Cast", "Dropout", "Reshape", "Transpose", "Expand", "Slice", "Concat",
        "Mul1", "1Mul", "Add0", "Div1", "Pow1", "Sub0", "MulOnes"];

    [Theory]
    [MemberData(nameof(NoOps))]
    public void NoOp_BetweenTwoNodesGoes(string kind)
    {
        var (op, x) = (_g.Op, _g.Op.Unary("Exp", _g.Input(PassGraph.B, PassGraph.S, 4)));
        var y = kind switch
        {
            "Cast" => op.Emit("Cast", [x], NodeAttribute.Of("to", 1)),
            "Reshape" => op.Reshape(x, 0, -1, 4),
            "Transpose" => op.Transpose(x, 0, 1, 2),
            "Expand" => op.Expand(x, op.Integers(1, 1, 4)),
            "Slice" => op.Slice(x, 1, 0, long.MaxValue),
            "Concat" => op.Concat(0, x),
            "Mul1" => op.Mul(x, _g.F(1)),
            "1Mul" => op.Mul(_g.F(1), x),
            "Add0" => op.Add(x, _g.F(0)),
            "Sub0" => op.Sub(x, _g.F(0)),
            "Div1" => op.Div(x, _g.F(1)),
            "Pow1" => op.Emit("Pow", [x, _g.F(1)]),
            "MulOnes" => op.Mul(x, _g.F(1, 1, 1, 1)),
            _ => op.Unary(kind, x),
        };
        _g.Output(op.Unary("Log", y));
        Assert.Equal("Exp Log -> y", After(1));
    }

    [Fact]
    public void NoOp_AtAGraphOutputKeepsTheName()
    {
        _g.Output(_g.Op.Unary("Identity", _g.Op.Unary("Exp", _g.Input(2))), "logits");
        Assert.Equal("Exp -> logits", After(1));
    }

    [Fact]
    public void Identity_FromInputToOutputStays()
    {
        _g.Output(_g.Op.Unary("Identity", _g.Input(2)));
        Assert.Equal("Identity -> y", After(0));
    }

    [Fact]
    public void WhatChangesSomething_Stays()
    {
        var (op, x) = (_g.Op, _g.Input(PassGraph.B, 4));
        var y = op.Mul(x, _g.F(2));                                        // not 1
        y = op.Mul(y, op.Constant(InMemoryTensor.Of([1f], 1, 1, 1)));      // adds an axis
        y = op.Div(_g.F(1), y);                                            // 1 / y
        y = op.Emit("Slice", [y, op.Integers(-1), op.Integers(long.MinValue), op.Integers(2), op.Integers(-1)]);   // turns round
        y = op.Transpose(y, 0, 2, 1);
        _g.Output(y);
        Assert.Equal("Mul Mul Div Slice Transpose -> y", After(0));
    }

    [Fact]
    public void MulByOne_ThatBroadcastsStays()
    {
        _g.Output(_g.Op.Mul(_g.Input(1), _g.F(1, 1, 1)));
        Assert.Equal("Mul -> y", After(0));
    }

    [Fact]
    public void TransposeOfTranspose_IsComposed()
    {
        var (op, x) = (_g.Op, _g.Input(2, 3, 4));
        _g.Output(op.Transpose(op.Transpose(x, 1, 2, 0), 1, 2, 0));
        Assert.Equal("Transpose -> y", After(1));
        Assert.Equal([2L, 0L, 1L], _g.Graph.Nodes[0].Ints("perm")!);
    }

    [Fact]
    public void TransposeThereAndBack_GoesInTwoRuns()
    {
        var (op, x) = (_g.Op, _g.Op.Unary("Exp", _g.Input(2, 3, 4)));
        _g.Output(op.Transpose(op.Transpose(x, 0, 2, 1), 0, 2, 1));
        After(1);
        Assert.Equal("Exp -> y", After(1));
    }
}
