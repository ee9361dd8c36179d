using System.Globalization;
using System.Text.Json;
using SorsaOrt.Ir;
using SorsaOrt.Ir.Passes;
using SorsaOrt.Ir.Serialization;
using SorsaOrt.TestSupport;

namespace SorsaOrt.Autodiff.Tests;

/// <summary>The loss of a whole exported Llama, in float64, differentiated by every weight.</summary>
public sealed class ExportTests(ITestOutputHelper output)
{
    private const double Step = 1e-6;

    // With left padding this graph has attention rows of NaN, which it hides behind Where(IsNaN).
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Fixture_GradientOfEveryWeightAgreesWithFiniteDifferences(bool leftPadded) =>
        Verify(Paths.Fixture("nano-llama", "optimum-no-past.onnx"), leftPadded);

    [Theory]
    [InlineData("torchscript-opset14")]
    [InlineData("torchscript-opset17")]
    [InlineData("dynamo-opset18")]
    [InlineData("dynamo-opset23")]
    [InlineData("dynamo-opset25-stripped")]
    [InlineData("ort-optimizer")]
    public void Export_GradientOfEveryWeightAgreesWithFiniteDifferences(string family)
    {
        Assert.SkipWhen(Paths.SharedOrNull is null, "../shared is absent");
        Verify(Paths.Shared("exports", "nano-llama", family, "model.onnx"));
    }

    private void Verify(string path, bool leftPadded = false)
    {
        using var model = OnnxReader.Read(path);
        var graph = model.Graph;
        ToWorkingOpset.Run(model);
        ConstantNodesToInitializers.Run(graph);
        Assert.Empty(OpenFusedOps.Run(graph));
        Simplify.Run(model);
        Widen(graph);
        var feeds = Inputs(graph);
        if (leftPadded)
            Array.Reverse(feeds["attention_mask"].Values);
        var parameters = graph.Initializers.Where(v => v.ElementType == ElementType.Float64 && v.Constant!.ElementCount >= 64).ToArray();
        Assert.True(parameters.Length >= 40, $"only {parameters.Length} weights");
        foreach (var parameter in parameters)
        {
            feeds[parameter.Name] = (parameter.Constant!.ToFloat64()!, [.. parameter.Constant.Shape]);
            graph.RemoveInitializer(parameter, asInput: true);
        }
        var op = new OpBuilder(graph) { Scope = "loss" };
        var loss = CrossEntropy.Build(op, op.Reshape(graph.Outputs[0], -1, 512), graph.AddInput("labels", new TensorType(ElementType.Int64, [Dim.Symbol("tokens")])));
        using var forward = new Session(graph, [loss]);
        var gradients = ReverseMode.Differentiate(graph, loss, parameters).Gradients;
        using var session = new Session(graph, [loss, .. gradients.Select(g => g.Gradient)]);
        var got = session.Run(feeds);

        var (worst, random) = (0.0, new Random(3));
        for (var i = 0; i < parameters.Length; i++)
        {
            var values = (double[])feeds[parameters[i].Name].Values;
            var direction = Array.ConvertAll(values, _ => 2 * random.NextDouble() - 1);
            double At(double h)
            {
                feeds[parameters[i].Name] = (values.Zip(direction, (v, d) => v + h * d).ToArray(), feeds[parameters[i].Name].Shape);
                return forward.Run(feeds)[0][0];
            }
            var difference = (At(Step) - At(-Step)) / (2 * Step);
            feeds[parameters[i].Name] = (values, feeds[parameters[i].Name].Shape);
            var products = got[i + 1].Zip(direction).Select(p => p.First * p.Second).ToArray();
            worst = Math.Max(worst, Math.Abs(products.Sum() - difference) / products.Sum(Math.Abs));
        }
        output.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{parameters.Length} weights, loss {got[0][0]:F6}, worst relative error {worst:0.0e+0}"));
        Assert.InRange(worst, 0, 1e-6);
    }

    // The same graph in float64.
    private static void Widen(Graph graph)
    {
        foreach (var value in graph.Initializers.Where(v => v.ElementType == ElementType.Float32).ToArray())
        {
            graph.MakeInitializer(value, InMemoryTensor.Of(value.Constant!.ToFloat64()!, [.. value.Constant.Shape]));
            value.Type = new TensorType(ElementType.Float64, value.Shape);
        }
        foreach (var node in graph.Nodes)
        {
            if (node.Is("Cast") && node.Int("to", 0) == (long)ElementType.Float32)
                node.Attributes["to"] = NodeAttribute.Of("to", (long)ElementType.Float64);
            if (node.Is("ConstantOfShape") && node.TensorAttribute("value") is { ElementType: ElementType.Float32 } fill)
                node.Attributes["value"] = NodeAttribute.Of("value", InMemoryTensor.Of(fill.ToFloat64()!, 1));
            foreach (var result in node.Outputs.OfType<Value>())
                result.Type = null;
        }
        ShapeInference.Infer(graph);
    }

    // Two sequences of 13 tokens, the second of 8 and padded on the right; labels are the ids themselves.
    private static Dictionary<string, (Array Values, long[] Shape)> Inputs(Graph graph)
    {
        using var json = JsonDocument.Parse(File.ReadAllText(Paths.Fixture("nano-llama", "inputs.json")));
        var feeds = graph.Inputs.ToDictionary(i => i.Name, i => ((Array)json.RootElement.GetProperty(i.Name).EnumerateArray()
            .SelectMany(row => row.EnumerateArray().Select(n => n.GetInt64())).ToArray(), (long[])[2, 13]));
        feeds["labels"] = (feeds["input_ids"].Item1, [26]);
        return feeds;
    }
}
