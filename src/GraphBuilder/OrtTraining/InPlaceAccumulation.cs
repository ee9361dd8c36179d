using SorsaOrt.Ir;
using SorsaOrt.Ir.Serialization;

namespace SorsaOrt.GraphBuilder.OrtTraining;

/// <summary>Makes a training graph one that the official training runtime accepts, and that plain ONNX Runtime still runs.</summary>
/// <remarks>
/// The official runtime hands the optimizer the memory of the accumulation buffers, which only its own operator
/// com.microsoft::InPlaceAccumulatorV2 writes. The model also defines that operator as a local function, <c>accumulated = buffer +
/// gradient</c>: a runtime with a kernel uses the kernel, one without puts the function's body in its place, and its output
/// <c>P_grad.accumulation.out</c> is what the plain engine binds. Decision: docs/decisions/0005-official-artifacts.md.
/// </remarks>
public static class InPlaceAccumulation
{
    /// <summary>The flag that the official runtime feeds: overwrite the gradients instead of adding to them.</summary>
    public const string LazyReset = "lazy_reset_grad";

    /// <summary>Output: ‖gradient so far‖² over all parameters, which the official runtime keeps to itself otherwise.</summary>
    public const string SquaredNorm = "gradient_sum_of_squares";

    private const string Microsoft = "com.microsoft";
    private const string Operator = "InPlaceAccumulatorV2";

    /// <summary>Rewrites the sums buffer + gradient of <paramref name="model"/>'s graph, and adds the norm of what they give.</summary>
    public static void Run(Model model, OpBuilder op)
    {
        var graph = model.Graph;
        // An initializer too, so that a caller who never overwrites need not feed it.
        var reset = graph.AddInput(LazyReset, new TensorType(ElementType.Bool, [1]));
        graph.MakeInitializer(reset, InMemoryTensor.Scalar(ElementType.Bool, 0, 1));
        op.Scope = "sorsa/gradient";
        var squares = new List<Value?>();
        foreach (var output in graph.Outputs.Where(o => o.Name.EndsWith(LossAndGradients.AccumulationOut, StringComparison.Ordinal)).ToArray())
            squares.Add(op.Reduce("ReduceSumSquare", Accumulate(graph, output, reset), false));
        var norm = op.Emit("Sum", [.. squares]);
        norm.Type = new TensorType(ElementType.Float32, []);
        graph.Rename(norm, SquaredNorm);
        graph.AddOutput(norm);
        ExecutionOrder.RunEndsEarly(graph);
        model.Opsets[Microsoft] = 1;
        LocalFunctions.Add(model, Microsoft, Body());
    }

    private static Value Accumulate(Graph graph, Value sum, Value reset)
    {
        var name = sum.Name;
        var parameter = name[..^LossAndGradients.AccumulationOut.Length];
        var buffer = graph.Inputs.First(i => i.Name == parameter + LossAndGradients.AccumulationBuffer);
        var gradient = WithoutBuffer(graph, sum, buffer);
        graph.Rename(gradient, graph.FreeName(parameter + "_gradient"));
        var flag = graph.NewValue(parameter + "_grad.accumulation.done", new TensorType(ElementType.Bool, [1]));
        var accumulated = graph.NewValue(name, buffer.Type);
        graph.AddNode(Operator, [buffer, gradient, reset], [flag, accumulated], Microsoft, graph.FreeName(parameter + "/" + Operator));
        graph.ReplaceOutput(gradient, accumulated);
        return accumulated;
    }

    // The sum is Add(buffer, gradient), or a Gemm that GemmAddends gave the buffer as its addend.
    private static Value WithoutBuffer(Graph graph, Value sum, Value buffer)
    {
        var node = sum.Producer!;
        var at = buffer.Uses.Single(u => u.Node == node).InputIndex;
        if (node.Is("Gemm") && at == 2)
        {
            node.SetInputs([.. node.Inputs.Take(2)]);
            return sum;
        }
        if (!node.Is("Add"))
            throw new InvalidOperationException($"'{sum.Name}' is accumulated by {node}, which is neither an Add nor a Gemm.");
        var gradient = node.Inputs[1 - at]!;
        graph.ReplaceOutput(sum, gradient);
        graph.RemoveNodes(new HashSet<Node> { node });
        return gradient;
    }

    private static Graph Body()
    {
        var body = new Graph(Operator);
        var buffer = body.AddInput("buffer", null);
        var gradient = body.AddInput("gradient", null);
        var overwrite = body.AddInput("overwrite", null);
        var done = body.NewValue("done");
        var accumulated = body.NewValue("accumulated");
        body.AddNode("Identity", [overwrite], [done]);
        body.AddNode("Add", [buffer, gradient], [accumulated]);
        body.AddOutput(done);
        body.AddOutput(accumulated);
        return body;
    }
}
