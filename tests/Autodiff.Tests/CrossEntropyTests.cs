using SorsaOrt.Ir;

namespace SorsaOrt.Autodiff.Tests;

public sealed class CrossEntropyTests
{
    [Theory]
    [InlineData(1)]
    [InlineData(1e4)]
    public void LossAndGradient_AreThoseOfTheDefinitionForLogitsOfAnySize(double scale)
    {
        double[] logits = [.. ((double[])[1, -2, 0.5, 3, 0.25, -1]).Select(v => v * scale)];
        var op = new OpBuilder(new Graph("test"));
        var x = op.Graph.AddInput("logits", new TensorType(ElementType.Float32, [2, 3]));
        var labels = op.Graph.AddInput("labels", new TensorType(ElementType.Int64, [2]));
        var loss = CrossEntropy.Build(op, x, labels);
        var gradient = ReverseMode.Differentiate(op.Graph, loss, [x]).Gradients.Single().Gradient;
        using var session = new Session(op.Graph, [loss, gradient]);
        var got = session.Run(new Dictionary<string, (Array, long[])> { ["logits"] = (logits, [2, 3]), ["labels"] = (new long[] { 1, 0 }, [2]) });

        var expected = new double[6];
        var sum = 0.0;
        foreach (var (row, label) in ((int, int)[])[(0, 1), (1, 0)])
        {
            var part = logits.AsSpan(3 * row, 3).ToArray();
            var total = part.Sum(v => Math.Exp(v - part.Max()));
            for (var i = 0; i < 3; i++)
                expected[3 * row + i] = Math.Exp(part[i] - part.Max()) / total - (i == label ? 1 : 0);
            sum += part.Max() + Math.Log(total) - part[label];
        }
        Assert.Equal(sum, got[0][0], 2e-6 * sum);
        Assert.All(expected.Zip(got[1]), p => Assert.Equal(p.First, p.Second, 1e-6));
    }

    [Theory]
    [InlineData(false, new[] { "Exp", "ScatterElements", "Mul" })]
    [InlineData(true, new[] { "Exp", "ScatterElements" })]
    public void Gradient_TakesThreePassesOverTheVocabulary_TwoBehindTheHead(bool hasHead, string[] expected)
    {
        var op = new OpBuilder(new Graph("test"));
        var x = op.Graph.AddInput("x", new TensorType(ElementType.Float32, [Dim.Symbol("tokens"), hasHead ? 16 : 1000]));
        var logits = hasHead ? op.Gemm(x, op.Graph.AddInitializer("head", InMemoryTensor.Of(new float[16_000], 1000, 16)), transB: true) : x;
        var loss = CrossEntropy.Build(op, logits, op.Graph.AddInput("labels", new TensorType(ElementType.Int64, [Dim.Symbol("tokens")])));
        var before = op.Graph.Nodes.Count;
        op.Graph.AddOutput(ReverseMode.Differentiate(op.Graph, loss, [x]).Gradients.Single().Gradient);
        var forward = op.Graph.Nodes.Take(before).ToHashSet();
        op.Graph.RemoveUnused();
        var wide = op.Graph.Nodes.Where(n => !forward.Contains(n) && n.Output.Shape is { Count: 2 } shape && shape[1].Is(1000)).Select(n => n.OpType);
        Assert.Equal(expected, wide);
    }
}
