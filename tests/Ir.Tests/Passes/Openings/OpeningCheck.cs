using SorsaOrt.Ir.Passes;
using SorsaOrt.TestSupport;
using Xunit;

namespace SorsaOrt.Ir.Tests.Openings;

/// <summary>A graph of one fused node: what it gives in ONNX Runtime's own kernel must be what its opening gives.</summary>
internal sealed class OpeningCheck
{
    public const string Microsoft = "com.microsoft";
    public static readonly Dim B = Dim.Symbol("batch"), S = Dim.Symbol("sequence"), T = Dim.Symbol("keys");

    private readonly Random _random = new(20260711);
    private readonly Dictionary<string, OrtTensor> _feeds = new(StringComparer.Ordinal);

    public OpeningCheck() => Op = new OpBuilder(Graph) { Scope = "fused" };

    public Graph Graph { get; } = new("opening");

    public OpBuilder Op { get; }

    /// <summary>Tokens of padding at the end of the second row, where the operator knows them.</summary>
    public int Padding { get; init; } = 2;

    /// <summary>An input of random floats between −1 and 1; symbols become the lengths of <paramref name="lengths"/>.</summary>
    public Value Floats(string name, Dim[] shape, params long[] lengths) => Feed(name, shape, OrtTensor.Of(Random(lengths), lengths));

    /// <summary>A constant of random floats between −1 and 1.</summary>
    public Value Weight(params long[] shape) => Graph.AddInitializer(Graph.FreeName("weight"), InMemoryTensor.Of(Random(shape), shape));

    /// <summary>Caches of cosines and sines of <paramref name="positions"/> positions.</summary>
    public (Value Cos, Value Sin) Angles(int positions, int half)
    {
        var angles = Enumerable.Range(0, positions * half).Select(i => i / half * Math.Pow(10000, -(double)(i % half) / half)).ToArray();
        long[] shape = [positions, half];
        return (Graph.AddInitializer("cos", InMemoryTensor.Of(Array.ConvertAll(angles, a => (float)Math.Cos(a)), shape)),
            Graph.AddInitializer("sin", InMemoryTensor.Of(Array.ConvertAll(angles, a => (float)Math.Sin(a)), shape)));
    }

    public Value Feed(string name, Dim[] shape, OrtTensor value)
    {
        _feeds[name] = value;
        return Graph.AddInput(name, new TensorType(value.Type, shape));
    }

    public float[] Random(params long[] shape) => [.. Enumerable.Range(0, (int)shape.Aggregate(1L, (p, d) => p * d)).Select(_ => 2 * _random.NextSingle() - 1)];

    /// <summary>Makes the first output of the last node, or those named by index, outputs of the graph.</summary>
    public OpeningCheck Output(params IReadOnlyList<Value> outputs)
    {
        foreach (var output in outputs)
            Graph.AddOutput(output);
        return this;
    }

    /// <summary>Runs the graph in opset <paramref name="opset"/>, opens it, runs it in the working opset, compares.</summary>
    public void AgreesWithKernel(double tolerance = 2e-6, long opset = 23)
    {
        var expected = Run(opset);
        Open();
        var actual = Run(OpBuilder.WorkingOpset);
        foreach (var (name, tensor) in expected)
            Near(tensor.As<float>(), actual[name].As<float>(), tolerance);
    }

    /// <summary>Opens the graph and compares with numbers computed by the test.</summary>
    public void Gives(float[] expected, double tolerance = 2e-6)
    {
        Open();
        Near(expected, Run(OpBuilder.WorkingOpset).Values.First().As<float>(), tolerance);
    }

    /// <summary>The reasons for which the graph is not opened.</summary>
    public IReadOnlyList<string> Refusals() => [.. OpenFusedOps.Run(Graph).Select(r => $"{r.Node.OpType}: {r.Reason}")];

    private void Open()
    {
        Assert.Empty(OpenFusedOps.Run(Graph));
        Assert.All(Graph.Nodes, n => Assert.Equal("", n.Domain));
        // Shapes stay known, or nothing after it could be differentiated.
        Assert.All(Graph.Nodes.SelectMany(n => n.Outputs).OfType<Value>(), v => Assert.True(v.Shape is not null, v.Name));
    }

    private IReadOnlyDictionary<string, OrtTensor> Run(long opset)
    {
        var model = new Model(Graph);
        model.Opsets[""] = opset;
        model.Opsets[Microsoft] = 1;
        return OrtRun.Run(model, _feeds, optimize: false);
    }

    private static void Near(float[] expected, float[] actual, double tolerance)
    {
        Assert.Equal(expected.Length, actual.Length);
        Assert.All(expected.Zip(actual), p => Assert.True(Math.Abs(p.First - p.Second) <= tolerance * Math.Max(1, Math.Abs(p.First)), $"{p.Second}, expected {p.First}"));
    }
}
