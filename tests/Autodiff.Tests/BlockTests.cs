using SorsaOrt.Ir;

namespace SorsaOrt.Autodiff.Tests;

/// <summary>Whole pieces of a network in float64 against finite differences.</summary>
public sealed class BlockTests
{
    private const long Batch = 2, Length = 3, Width = 8, Heads = 4, KeyHeads = 2, HeadSize = 2, Inner = 12;

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void TwoLayerPerceptron_GradientAgreesWithFiniteDifferences(bool symbolic) => Assert.InRange(GradientCheck.Vjp(t =>
    {
        var hidden = t.Op.Unary("Tanh", t.Op.Add(t.Op.MatMul(t.Input("x", [5, 4]), t.Input("w1", [4, 6])), t.Input("b1", [6])));
        var logits = t.Op.Gemm(hidden, t.Input("w2", [3, 6]), t.Input("b2", [3]), transB: true);
        return CrossEntropy.Build(t.Op, logits, t.Integers("labels", [5], 0, 2, 1, 1, 0));
    }, symbolic), 0, 1e-6);

    /// <summary>More words than hidden numbers: the head's gradient multiplies the rows of the narrow side.</summary>
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void WideHead_GradientAgreesWithFiniteDifferences(bool symbolic) => Assert.InRange(GradientCheck.Vjp(t =>
    {
        var logits = t.Op.Gemm(t.Input("x", [5, 4]), t.Constant("head", 9, 4), transB: true);
        return CrossEntropy.Build(t.Op, logits, t.Integers("labels", [5], 0, 8, 1, 1, 0));
    }, symbolic), 0, 1e-6);

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void LlamaBlock_GradientAgreesWithFiniteDifferences(bool symbolic) => Assert.InRange(GradientCheck.Vjp(t =>
    {
        var x = t.Input("x", [Batch, Length, Width]);
        x = t.Op.Add(x, Attention(t, Normal(t, x, "norm1")));
        return t.Op.Add(x, Swiglu(t, Normal(t, x, "norm2")));
    }, symbolic), 0, 1e-6);

    private static Value Normal(TestGraph t, Value x, string name)
    {
        var op = t.Op;
        var mean = op.Add(op.Reduce("ReduceMean", op.Emit("Pow", [x, op.Scalar(2, x)]), true, -1), 1e-5);
        return op.Mul(op.Mul(x, op.Div(op.Scalar(1, x), op.Unary("Sqrt", mean))), t.Input(name, [Width], 0.5, 1.5));
    }

    private static Value Attention(TestGraph t, Value x)
    {
        var op = t.Op;
        Value Split(string name, long heads) => op.Transpose(op.Reshape(op.MatMul(x, t.Input(name, [Width, heads * HeadSize])), 0, 0, heads, HeadSize), 0, 2, 1, 3);
        Value Repeated(Value keys) => op.Reshape(op.Expand(op.Unsqueeze(keys, 2), op.Integers(1, 1, Heads / KeyHeads, 1, 1)), 0, Heads, -1, HeadSize);
        var (q, k, v) = (Rotated(t, Split("wq", Heads), "q"), Rotated(t, Split("wk", KeyHeads), "k"), Split("wv", KeyHeads));
        var scores = op.Mul(op.MatMul(q, op.Transpose(Repeated(k), 0, 1, 3, 2)), 1 / Math.Sqrt(HeadSize));
        var mask = new double[Length * Length];
        for (var i = 0; i < mask.Length; i++)
            mask[i] = i % Length > i / Length ? double.NegativeInfinity : 0;
        var p = NormalizationChecks.Clean(t, op.Softmax(op.Add(scores, t.Frozen("mask", [Length, Length], mask)), -1));
        var mixed = op.Reshape(op.Transpose(op.MatMul(p, Repeated(v)), 0, 2, 1, 3), 0, 0, -1);
        return op.MatMul(mixed, t.Input("wo", [Heads * HeadSize, Width]));
    }

    // x·cos + rotate_half(x)·sin, as Hugging Face writes it.
    private static Value Rotated(TestGraph t, Value x, string name)
    {
        var op = t.Op;
        double[] Table(Func<double, double> f) => [.. Enumerable.Range(0, (int)(Length * HeadSize)).Select(i => f(i / HeadSize * 0.7))];
        var (front, back) = (op.Slice(x, 3, 0, HeadSize / 2), op.Slice(x, 3, HeadSize / 2, long.MaxValue));
        var turned = op.Concat(-1, op.Unary("Neg", back), front);
        return op.Add(op.Mul(x, t.Frozen("cos" + name, [Length, HeadSize], Table(Math.Cos))), op.Mul(turned, t.Frozen("sin" + name, [Length, HeadSize], Table(Math.Sin))));
    }

    private static Value Swiglu(TestGraph t, Value x)
    {
        var gate = t.Op.MatMul(x, t.Input("gate", [Width, Inner]));
        var active = t.Op.Mul(gate, t.Op.Unary("Sigmoid", gate));
        return t.Op.MatMul(t.Op.Mul(active, t.Op.MatMul(x, t.Input("up", [Width, Inner]))), t.Input("down", [Inner, Width]));
    }
}
