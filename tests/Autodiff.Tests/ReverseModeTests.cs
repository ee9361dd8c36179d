using SorsaOrt.Ir;
using SorsaOrt.TestSupport;

namespace SorsaOrt.Autodiff.Tests;

public sealed class ReverseModeTests
{
    private static readonly TensorType Matrix = new(ElementType.Float64, [2, 2]);

    private readonly OpBuilder _op = new(new Graph("test")) { Scope = "forward" };

    [Fact]
    public void Differentiate_TextFormIsTheSameEveryTime()
    {
        static string Text()
        {
            var op = new OpBuilder(new Graph("test")) { Scope = "forward" };
            var x = op.Graph.AddInput("x", new TensorType(ElementType.Float32, [Dim.Symbol("batch"), 3, 4]));
            var w = op.Graph.AddInitializer("w", InMemoryTensor.Scalar(ElementType.Float32, 0, 1, 1));
            w.Type = new TensorType(ElementType.Float32, [4, 2]);
            var bias = op.Graph.AddInput("bias", new TensorType(ElementType.Float32, [2]));
            var loss = op.ReduceSum(op.Unary("Tanh", op.Add(op.MatMul(x, w), bias)), keepDims: false);
            foreach (var (parameter, gradient) in ReverseMode.Differentiate(op.Graph, loss, [x, bias]).Gradients)
            {
                op.Graph.Rename(gradient, "d/" + parameter.Name);
                op.Graph.AddOutput(gradient);
            }
            return op.Graph.ToString();
        }

        Assert.Equal(Text(), Text());
        var expected = File.ReadAllText(Path.Combine(Paths.Repository, "tests", "Autodiff.Tests", "Expectations", "linear-tanh.txt"));
        Assert.Equal(expected.ReplaceLineEndings(), Text().ReplaceLineEndings() + Environment.NewLine);
    }

    [Fact]
    public void Differentiate_BuildsNothingForWhatIsNotWanted()
    {
        var (frozen, wanted) = (Input("frozen"), Input("wanted"));
        var below = _op.Unary("Exp", _op.Unary("Sin", frozen));
        var beside = _op.Unary("Log", wanted);
        var loss = Sum(_op.MatMul(below, wanted));
        var before = _op.Graph.Nodes.Count;
        var gradient = ReverseMode.Differentiate(_op.Graph, loss, [wanted]).Gradients.Single().Gradient;
        var built = _op.Graph.Nodes.Skip(before).ToArray();
        Assert.Equal(["Expand", "Gemm"], built.Select(n => n.OpType));
        Assert.Same(built[1], gradient.Producer);
        Assert.Empty(beside.Uses);
    }

    [Fact]
    public void Differentiate_SumsTheSharesOfAllReaders()
    {
        // loss = Σ x·x + 3x + exp x, so that dx = 2x + 3 + exp x.
        var x = Input("x");
        var loss = Sum(_op.Add(_op.Add(_op.Mul(x, x), _op.Mul(x, 3)), _op.Unary("Exp", x)));
        double[] values = [0.5, -1, 2, 0];
        Assert.Equal(values.Select(v => 2 * v + 3 + Math.Exp(v)), Gradient(loss, x, values), Close);
    }

    [Fact]
    public void Differentiate_GivesGradientsOfInputsInitializersAndIntermediateValues()
    {
        var x = Input("x");
        var w = _op.Graph.AddInitializer("w", InMemoryTensor.Of([1.0, 2, 3, 4], 2, 2));
        var middle = _op.Mul(x, w);
        var loss = Sum(_op.Mul(middle, middle));
        var result = ReverseMode.Differentiate(_op.Graph, loss, [middle, x, w, loss]);
        Assert.Equal([middle, x, w, loss], result.Gradients.Select(g => g.Parameter));
        using var session = new Session(_op.Graph, result.Gradients.Select(g => g.Gradient));
        var got = session.Run(new Dictionary<string, (Array, long[])> { ["x"] = (new double[] { 1, 1, 2, 2 }, [2, 2]) });
        Assert.Equal([2, 4, 12, 16], got[0]);
        Assert.Equal([2, 8, 36, 64], got[1]);
        Assert.Equal([2, 4, 24, 32], got[2]);
        Assert.Equal([1], got[3]);
    }

    [Fact]
    public void Differentiate_NamesEveryNodeWithoutARule()
    {
        var x = Input("x");
        var first = _op.Unary("Mish", x);
        var second = _op.Emit("Strange", "my.domain", 1, [first, Input("other")])[0];
        second.Type = Matrix;
        _op.Unary("Mish", Input("besides"));
        var loss = Sum(second);
        var error = Assert.Throws<UnsupportedGraphException>(() => ReverseMode.Differentiate(_op.Graph, loss, [x]));
        Assert.Equal("""
            SORSA2003: no gradient rule for 'Mish' (opset 21)
              at  'forward/Mish'  (x f64[2,2]) -> forward/Mish f64[2,2]
              on the path from 'x' to 'forward/ReduceSum'
              do  export it as simpler operators, or add a rule in src/Autodiff/Rules with its gradient check
            SORSA2003: no gradient rule for 'Strange' (my.domain)
              at  'forward/Strange'  (forward/Mish f64[2,2], other f64[2,2]) -> forward/Strange f64[2,2]
              on the path from 'x' to 'forward/ReduceSum'
              do  export it as simpler operators, or add a rule in src/Autodiff/Rules with its gradient check
            """.ReplaceLineEndings(), error.Message.ReplaceLineEndings());
    }

    [Fact]
    public void Differentiate_NamesParametersThatDoNotReachTheLoss()
    {
        var (x, y) = (Input("x"), Input("y"));
        // y passes only what has no gradient.
        var loss = Sum(_op.Add(x, _op.Unary("Floor", y)));
        var error = Assert.Throws<UnsupportedGraphException>(() => ReverseMode.Differentiate(_op.Graph, loss, [x, y, Input("z")]));
        Assert.Contains("SORSA2004: the parameter 'y' does not reach the loss 'forward/ReduceSum'", error.Message, StringComparison.Ordinal);
        Assert.Contains("SORSA2004: the parameter 'z' does not reach", error.Message, StringComparison.Ordinal);
        Assert.DoesNotContain("'x'", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Differentiate_RefusesALossThatIsNotOneNumber()
    {
        var x = Input("x");
        var error = Assert.Throws<UnsupportedGraphException>(() => ReverseMode.Differentiate(_op.Graph, _op.Unary("Exp", x), [x]));
        Assert.StartsWith("SORSA2006: the loss 'forward/Exp' f64[2,2] is not one number", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Differentiate_RefusesWhatARuleDoesNotCover()
    {
        var x = Input("x");
        var loss = Sum(_op.Emit("Slice", [x, _op.Integers(0), _op.Integers(2), _op.Integers(1), _op.Integers(2)]));
        var error = Assert.Throws<UnsupportedGraphException>(() => ReverseMode.Differentiate(_op.Graph, loss, [x]));
        Assert.StartsWith("SORSA2003: no gradient of 'Slice' where the step is 2 and the length 2 (opset 21)", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Differentiate_RefusesAWantedInputThatTheRuleLeavesOut()
    {
        var (x, high) = (Input("x"), _op.Graph.AddInput("high", new TensorType(ElementType.Float64, [])));
        var loss = Sum(_op.Emit("Clip", [x, null, high]));
        var error = Assert.Throws<UnsupportedGraphException>(() => ReverseMode.Differentiate(_op.Graph, loss, [x, high]));
        Assert.Contains("it is wanted for input 2, 'high'", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Differentiate_UsesRulesThatWereAdded()
    {
        var x = Input("x");
        var y = _op.Emit("Triple", "my.domain", 1, [x])[0];
        y.Type = Matrix;
        var table = GradientTable.Standard().AddUnary("Triple", (op, _, _, dY) => op.Mul(dY, 3), "my.domain");
        var gradient = ReverseMode.Differentiate(_op.Graph, Sum(y), [x], table: table).Gradients.Single().Gradient;
        Assert.Equal("Mul", gradient.Producer?.OpType);
    }

    [Fact]
    public void MatMul_NeverTransposesAFrozenWeight()
    {
        var x = _op.Graph.AddInput("x", new TensorType(ElementType.Float32, [Dim.Symbol("batch"), Dim.Symbol("length"), 4]));
        var w = _op.Graph.AddInitializer("w", InMemoryTensor.Of(new float[20], 4, 5));
        var tied = _op.Graph.AddInitializer("tied", InMemoryTensor.Of(new float[30], 6, 5));
        var loss = Sum(_op.MatMul(_op.MatMul(x, w), _op.Transpose(tied, 1, 0)));
        var before = _op.Graph.Nodes.Count;
        ReverseMode.Differentiate(_op.Graph, loss, [x]);
        var built = _op.Graph.Nodes.Skip(before).ToArray();
        Assert.DoesNotContain(built, n => n.OpType is "Transpose" or "MatMul");
        var products = built.Where(n => n.OpType == "Gemm").ToArray();
        Assert.Equal([tied, w], products.Select(n => n.Inputs[1]));
        Assert.Equal([0, 1], products.Select(n => n.Int("transB", 0)));
    }

    [Fact]
    public void Max_EqualElementsShareTheGradient()
    {
        var x = Input("x");
        var loss = Sum(_op.Reduce("ReduceMax", x, false, 1));
        Assert.Equal([0.5, 0.5, 0, 1], Gradient(loss, x, [3, 3, 1, 2]));
    }

    [Fact]
    public void ReduceL2_OfZerosHasZeroGradient()
    {
        var x = Input("x");
        Assert.Equal([0, 0, 0.6, 0.8], Gradient(Sum(_op.Reduce("ReduceL2", x, false, 1)), x, [0, 0, 3, 4]), Close);
    }

    [Fact]
    public void Softmax_RowsOfNaNThatWhereHidesGiveZeros()
    {
        var x = Input("x");
        var mask = _op.Graph.AddInitializer("mask", InMemoryTensor.Of([0.0, 0, double.NegativeInfinity, double.NegativeInfinity], 2, 2));
        var y = _op.Softmax(_op.Add(x, mask), -1);
        var clean = _op.Where(_op.Emit("IsNaN", [y]), _op.Scalar(0, y), y);
        var p = 1 / (1 + Math.E);
        var gradient = Gradient(Sum(_op.Mul(clean, clean)), x, [0, 1, 5, 6]);
        // Σy² with y = (p, 1−p) has the slope 2p(1−p)(2p−1) towards the first.
        var slope = 2 * p * (1 - p) * (2 * p - 1);
        Assert.Equal([slope, -slope, 0, 0], gradient, Close);
    }

    [Theory]
    [InlineData(4, ElementType.Float32)]
    [InlineData(2, ElementType.Float32)]
    [InlineData(4, ElementType.Float16)]
    [InlineData(2, ElementType.BFloat16)]
    public void Softmax_InAttentionSumsOverTheHeadsWidthInsteadOfTheKeys(long keyHeads, ElementType products)
    {
        const long Heads = 4, Width = 6;
        var (batch, length) = (Dim.Symbol("batch"), Dim.Symbol("length"));
        var x = _op.Graph.AddInput("scores", new TensorType(ElementType.Float32, [batch, Heads, length, length]));
        var v = _op.Graph.AddInput("v", new TensorType(products, [batch, keyHeads, length, Width]));
        var softmax = _op.Softmax(x, -1);
        var weights = _op.Cast(softmax, products);
        var context = keyHeads == Heads ? _op.MatMul(weights, v) : _op.Reshape(_op.MatMul(_op.Reshape(weights, 0, keyHeads, -1, 0), v), 0, Heads, -1, Width);
        var joined = _op.Reshape(_op.Transpose(context, 0, 2, 1, 3), 0, 0, Heads * Width);
        var before = _op.Graph.Nodes.Count;
        ReverseMode.Differentiate(_op.Graph, Sum(_op.Mul(joined, joined)), [x, v]);
        var sum = Assert.Single(_op.Graph.Nodes.Skip(before), n => n.Is("ReduceSum") && n.Int("keepdims", 1) == 1);
        Assert.Equal([batch, length, Dim.Of(Heads), Dim.Of(Width)], sum.Inputs[0]!.Shape!);
        Assert.Equal(ElementType.Float32, sum.Inputs[0]!.ElementType);
        // Of narrow products the narrow weights are kept, not those of softmax beside them.
        if (products != ElementType.Float32)
            Assert.Equal(weights, Assert.Single(softmax.Uses).Node.Output);
    }

    private static bool Close(double a, double b) => Math.Abs(a - b) < 1e-12;

    private Value Input(string name) => _op.Graph.AddInput(name, Matrix);

    private Value Sum(Value x) => _op.ReduceSum(x, keepDims: false);

    private double[] Gradient(Value loss, Value x, double[] values)
    {
        using var session = new Session(_op.Graph, [ReverseMode.Differentiate(_op.Graph, loss, [x]).Gradients.Single().Gradient]);
        return session.Run(new Dictionary<string, (Array, long[])> { [x.Name] = (values, [2, 2]) })[0];
    }
}
