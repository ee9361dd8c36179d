using SorsaOrt.Ir.Passes;
using SorsaOrt.TestSupport;
using Xunit;

namespace SorsaOrt.Ir.Tests;

/// <summary>Rotary embeddings as exporters write them out become one operator with the same result, and what only looks like one does not.</summary>
public sealed class FuseRotaryTests
{
    private const long Heads = 3, Size = 8, Half = Size / 2, Length = 5;
    private readonly PassGraph _g = new();

    public enum Form { NegatedHalf, NegativeTable, ConstantTable, SharedByRows }

    [Theory]
    [InlineData(Form.NegatedHalf)]
    [InlineData(Form.NegativeTable)]
    [InlineData(Form.ConstantTable)]
    [InlineData(Form.SharedByRows)]
    public void EveryForm_IsFused_WithTheSameResult(Form form)
    {
        var (op, x) = (_g.Op, X());
        var rows = form == Form.SharedByRows ? 1 : 2;
        var feeds = new Dictionary<string, OrtTensor> { ["x"] = Floats(2, Heads, Length, Size), ["angles"] = Floats(rows, Length, Half) };
        var (cos, sin) = form == Form.ConstantTable ? Gathered(feeds) : Computed(form == Form.SharedByRows ? 1 : PassGraph.B, form == Form.NegativeTable);
        _g.Output(op.Add(op.Mul(x, cos), op.Mul(Turned(x, form != Form.NegativeTable), sin)));
        if (form == Form.ConstantTable)
            feeds.Remove("angles");
        var before = Run(feeds);
        Fused(1);
        Assert.Equal("RotaryEmbedding", _g.Graph.Outputs[0].Producer!.OpType);
        Assert.All(before.Zip(Run(feeds)), p => Assert.Equal(p.First, p.Second, 1e-6f));
    }

    [Fact]
    public void Tables_AreCutOnceForAllThatReadThem()
    {
        var (op, x, z) = (_g.Op, X(), _g.Input(PassGraph.B, Heads, PassGraph.S, Size));
        var (cos, sin) = Computed(PassGraph.B, negative: true);
        Value Rotated(Value v) => op.Add(op.Mul(cos, v), op.Mul(sin, Turned(v, negated: false)));
        _g.Output(op.Add(Rotated(x), Rotated(z)));
        Fused(2);
        Assert.Equal(2, _g.Graph.Nodes.Count(n => n.Is("Slice")));
        Assert.Single(_g.Graph.Nodes, n => n.Is("Range"));
    }

    [Theory]
    [InlineData(true, true)]    // turned the wrong way in both halves
    [InlineData(false, false)]  // not at all
    public void WrongSigns_AreLeftAlone(bool negatedHalf, bool negativeTable)
    {
        var (op, x) = (_g.Op, X());
        var (cos, sin) = Computed(PassGraph.B, negativeTable);
        _g.Output(op.Add(op.Mul(x, cos), op.Mul(Turned(x, negatedHalf), sin)));
        Fused(0);
    }

    [Fact]
    public void TablesWhoseHalvesMayDiffer_AreLeftAlone()
    {
        var (op, x) = (_g.Op, X());
        var cos = op.Unary("Cos", _g.Input(PassGraph.B, 1, PassGraph.S, Size));
        var (_, sin) = Computed(PassGraph.B, negative: false);
        _g.Output(op.Add(op.Mul(x, cos), op.Mul(Turned(x, negated: true), sin)));
        Fused(0);
    }

    [Fact]
    public void HalvesOfAnotherValue_AreLeftAlone()
    {
        var (op, x) = (_g.Op, X());
        var (cos, sin) = Computed(PassGraph.B, negative: false);
        _g.Output(op.Add(op.Mul(x, cos), op.Mul(Turned(_g.Input(PassGraph.B, Heads, PassGraph.S, Size), negated: true), sin)));
        Fused(0);
    }

    private Value X() => _g.Input(PassGraph.B, Heads, PassGraph.S, Size);

    private Value Turned(Value x, bool negated)
    {
        var halves = _g.Op.Split(x, -1, Half, Half);
        return _g.Op.Concat(-1, negated ? _g.Op.Unary("Neg", halves[1]) : halves[1], halves[0]);
    }

    // Scaled tables [rows, 1, S, D] of the input "angles".
    private (Value Cos, Value Sin) Computed(Dim rows, bool negative)
    {
        var op = _g.Op;
        var angles = _g.Graph.AddInput("angles", new TensorType(ElementType.Float32, [rows, PassGraph.S, Half]));
        var sin = op.Unary("Sin", angles);
        var cos = op.Unary("Cos", op.Concat(-1, angles, angles));
        return (op.Mul(op.Unsqueeze(cos, 1), 0.5), op.Mul(op.Unsqueeze(op.Concat(-1, negative ? op.Unary("Neg", sin) : sin, sin), 1), 0.5));
    }

    // Tables of nine positions, from which those of each token are gathered.
    private (Value Cos, Value Sin) Gathered(Dictionary<string, OrtTensor> feeds)
    {
        feeds["places"] = OrtTensor.Of<long>([0, 1, 2, 3, 4, 8, 7, 5, 3, 6], 2, Length);
        var places = _g.Graph.AddInput("places", new TensorType(ElementType.Int64, [PassGraph.B, PassGraph.S]));
        Value Table(Func<double, double> f) => _g.Op.Unsqueeze(_g.Op.Gather(_g.Graph.AddInitializer(_g.Graph.FreeName("table"),
            InMemoryTensor.Of([.. Enumerable.Range(0, 9 * (int)Size).Select(i => (float)f(i / (int)Size * 0.3 * (i % (int)Half + 1)))], 9, Size)), places), 1);
        return (Table(Math.Cos), Table(Math.Sin));
    }

    private static OrtTensor Floats(params long[] shape)
    {
        var random = new Random(3);
        return OrtTensor.Of([.. Enumerable.Range(0, (int)shape.Aggregate(1L, (p, n) => p * n)).Select(_ => 2 * random.NextSingle() - 1)], shape);
    }

    private void Fused(int expected) => _g.After(graph => FuseRotary.Run(_g.Model(OpBuilder.WorkingOpset)), expected);

    private float[] Run(Dictionary<string, OrtTensor> feeds)
    {
        var model = _g.Model(OpBuilder.WorkingOpset);
        model.Opsets["com.microsoft"] = 1;
        return OrtRun.Run(model, feeds)["y"].As<float>();
    }
}
