using SorsaOrt.Ir.Passes;
using SorsaOrt.TestSupport;
using Xunit;

namespace SorsaOrt.Ir.Tests;

public sealed class PortableOperatorsTests
{
    private readonly PassGraph _g = new();

    [Fact]
    public void Equal_IsTheSameForNaNInfinityAndZeros()
    {
        float[] a = [1, 1, float.NaN, 0f, float.PositiveInfinity, float.NegativeInfinity], b = [1, 2, float.NaN, -0f, float.PositiveInfinity, 3];
        var (x, y) = (_g.Graph.AddInput("a", new TensorType(ElementType.Float32, [PassGraph.B])), _g.Graph.AddInput("b", new TensorType(ElementType.Float32, [PassGraph.B])));
        _g.Output(_g.Op.Emit("Equal", [x, y]));
        Same("LessOrEqual GreaterOrEqual And -> y", new() { ["a"] = OrtTensor.Of(a), ["b"] = OrtTensor.Of(b) }, true, false, false, true, true, false);
    }

    [Fact]
    public void ConstantOfShape_KeepsItsValueAndType()
    {
        var shape = _g.Graph.AddInput("shape", new TensorType(ElementType.Int64, [Dim.Of(2)]));
        _g.Output(_g.Op.Emit("ConstantOfShape", [shape], NodeAttribute.Of("value", InMemoryTensor.Scalar(ElementType.Int64, 7, 1))));
        Same("Expand -> y", new() { ["shape"] = OrtTensor.Of([2L, 3L]) }, 7L, 7L, 7L, 7L, 7L, 7L);
    }

    [Fact]
    public void ConstantOfShape_WithoutAValue_IsZeros()
    {
        var shape = _g.Graph.AddInput("shape", new TensorType(ElementType.Int64, [Dim.Of(1)]));
        _g.Output(_g.Op.Emit("ConstantOfShape", [shape]));
        Same("Expand -> y", new() { ["shape"] = OrtTensor.Of([2L], 1) }, 0f, 0f);
    }

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(-1)]
    public void Flatten_IsAReshape(long axis)
    {
        var x = _g.Input(PassGraph.B, 3, 2);
        _g.Output(_g.Op.Emit("Flatten", [x], NodeAttribute.Of("axis", axis)));
        float[] values = [.. Enumerable.Range(0, 12).Select(i => (float)i)];
        Same("Reshape -> y", new() { ["x"] = OrtTensor.Of(values, 2, 3, 2) }, values);
    }

    private void Same<T>(string text, Dictionary<string, OrtTensor> feeds, params T[] expected) where T : unmanaged
    {
        var before = OrtRun.Run(_g.Model(OpBuilder.WorkingOpset), feeds)["y"];
        Assert.Equal(text, _g.After(PortableOperators.Run, 1).Text);
        var after = OrtRun.Run(_g.Model(OpBuilder.WorkingOpset), feeds)["y"];
        Assert.Equal(expected, before.As<T>());
        Assert.Equal(before.As<T>(), after.As<T>());
        Assert.Equal(before.Shape, after.Shape);
    }
}
