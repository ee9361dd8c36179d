using SorsaOrt.Ir.Passes;
using SorsaOrt.TestSupport;
using Xunit;

namespace SorsaOrt.Ir.Tests;

public sealed class SlicesToSplitsTests
{
    private readonly PassGraph _g = new();

    private string After(int changed) => _g.After(SlicesToSplits.Run, changed).Text;

    [Fact]
    public void RotateHalf_CutsOnce()
    {
        var x = _g.Input(PassGraph.B, 8);
        _g.Output(_g.Op.Add(x, _g.Op.Concat(-1, _g.Op.Unary("Neg", _g.Op.Slice(x, 1, 4, long.MaxValue)), _g.Op.Slice(x, -1, 0, -4))));
        var feeds = new Dictionary<string, OrtTensor> { ["x"] = OrtTensor.Of([.. Enumerable.Range(0, 16).Select(i => (float)i)], 2, 8) };
        var before = OrtRun.Run(_g.Model(OpBuilder.WorkingOpset), feeds)["y"].As<float>();
        Assert.Equal("Split Neg Concat Add -> y", After(2));
        Assert.Equal(before, OrtRun.Run(_g.Model(OpBuilder.WorkingOpset), feeds)["y"].As<float>());
    }

    [Theory]
    [InlineData(0, 4, 5, 8)]    // a gap
    [InlineData(0, 5, 4, 8)]    // an overlap
    [InlineData(0, 4, 4, 7)]    // an end left over
    public void SlicesThatAreNotAllOfIt_Stay(long start1, long end1, long start2, long end2)
    {
        var x = _g.Input(PassGraph.B, 8);
        _g.Output(_g.Op.Concat(-1, _g.Op.Slice(x, 1, start1, end1), _g.Op.Slice(x, 1, start2, end2)));
        Assert.Equal("Slice Slice Concat -> y", After(0));
    }

    [Fact]
    public void UnknownLength_Stays()
    {
        var x = _g.Input(8, PassGraph.S);
        _g.Output(_g.Op.Concat(0, _g.Op.Slice(x, 1, 0, 4), _g.Op.Slice(x, 1, 4, 8)));
        Assert.Equal("Slice Slice Concat -> y", After(0));
    }

    [Fact]
    public void OtherStep_Stays()
    {
        var x = _g.Input(PassGraph.B, 8);
        Value Every(long step, long start, long end) => _g.Op.Emit("Slice", [x, _g.Op.Integers(start), _g.Op.Integers(end), _g.Op.Integers(1), _g.Op.Integers(step)]);
        _g.Output(_g.Op.Concat(-1, Every(2, 0, 4), Every(1, 4, 8)));
        Assert.Equal("Slice Slice Concat -> y", After(0));
    }
}
