using System.Text.Json;
using Microsoft.ML.OnnxRuntime;
using SorsaOrt.Ir.Serialization;
using SorsaOrt.TestSupport;
using Xunit;

namespace SorsaOrt.Ir.Tests;

/// <summary>The predicted order of nodes is the one that ONNX Runtime's profile reports.</summary>
public sealed class ExecutionOrderTests
{
    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    [InlineData(4)]
    public void Of_IsTheOrderThatOnnxRuntimeRuns(int seed)
    {
        using var model = RandomGraph(new Random(seed));
        Assert.Equal(Profiled(model), ExecutionOrder.Of(model.Graph).Select(n => n.Name));
    }

    [Fact]
    public void RunEndsEarly_RunsWhatFeedsOnlyOutputsAsSoonAsItCan()
    {
        var graph = new Graph("g");
        var op = new OpBuilder(graph) { Scope = "n" };
        var x = graph.AddInput("x", new TensorType(ElementType.Float32, [4]));
        var chain = new List<Value>();
        for (var i = 0; i < 5; i++)
            chain.Add(x = op.Unary("Sqrt", x));
        foreach (var link in chain)
            graph.AddOutput(op.Unary("Abs", link));
        ExecutionOrder.RunEndsEarly(graph);
        var order = ExecutionOrder.Of(graph).Select(n => n.OpType);
        Assert.Equal(Enumerable.Repeat((string[])["Sqrt", "Abs"], 5).SelectMany(p => p), order);
        using var model = new Model(graph) { IrVersion = 10 };
        model.Opsets[""] = OpBuilder.WorkingOpset;
        Assert.Equal(ExecutionOrder.Of(graph).Select(n => n.Name), Profiled(model));
    }

    private static Model RandomGraph(Random random)
    {
        var graph = new Graph("g");
        var op = new OpBuilder(graph) { Scope = "n" };
        var values = new List<Value> { graph.AddInput("x", new TensorType(ElementType.Float32, [4])) };
        for (var i = 0; i < 30; i++)
        {
            var (a, b) = (values[random.Next(values.Count)], values[random.Next(values.Count)]);
            values.Add(random.Next(2) == 0 ? op.Add(a, b) : op.Unary("Abs", a));
        }
        foreach (var end in values.Skip(1).Where(v => v.Uses.Count == 0))
            graph.AddOutput(end);
        var model = new Model(graph);
        model.Opsets[""] = OpBuilder.WorkingOpset;
        return model;
    }

    private static List<string> Profiled(Model model)
    {
        using var folder = new TemporaryFolder();
        using var options = OrtRun.Options(optimize: false);
        options.ProfileOutputPathPrefix = folder.At("profile");
        options.EnableProfiling = true;
        string path;
        using (var session = new InferenceSession(OnnxWriter.ToBytes(model), options))
        {
            OrtRun.Run(session, new Dictionary<string, OrtTensor> { ["x"] = OrtTensor.Of(new float[4]) });
            path = session.EndProfiling();
        }
        using var events = JsonDocument.Parse(File.ReadAllBytes(path));
        const string Suffix = "_kernel_time";
        return [.. events.RootElement.EnumerateArray()
            .Where(e => e.GetProperty("cat").GetString() == "Node" && e.GetProperty("name").GetString()!.EndsWith(Suffix, StringComparison.Ordinal))
            .OrderBy(e => e.GetProperty("ts").GetInt64()).Select(e => e.GetProperty("name").GetString()![..^Suffix.Length])];
    }
}
