using Xunit;

namespace SorsaOrt.Ir.Tests;

/// <summary>A small graph to run one pass on, and what it looks like afterwards.</summary>
internal sealed class PassGraph
{
    public static readonly Dim B = Dim.Symbol("b"), S = Dim.Symbol("s");

    public PassGraph() => Op = new OpBuilder(Graph) { Scope = "n" };

    public Graph Graph { get; } = new("test");

    public OpBuilder Op { get; }

    public Value Input(params Dim[] shape) => Graph.AddInput(Graph.FreeName("x"), new TensorType(ElementType.Float32, shape));

    public Value F(params float[] values) => Graph.AddInitializer(Graph.FreeName("f"), InMemoryTensor.Of(values, values.Length));

    public Value F(float value) => Graph.AddInitializer(Graph.FreeName("f"), InMemoryTensor.Of([value]));

    /// <summary>Adds an output of that name.</summary>
    public void Output(Value value, string name = "y")
    {
        Graph.Rename(value, name);
        Graph.AddOutput(value);
    }

    /// <summary>Operators in order, and the names of the outputs.</summary>
    public string Text => string.Join(" ", Graph.Nodes.Select(n => n.OpType)) + " -> " + string.Join(",", Graph.Outputs.Select(o => o.Name));

    public Model Model(long opset)
    {
        var model = new Model(Graph);
        model.Opsets[""] = opset;
        return model;
    }

    /// <summary>Runs a pass and checks how much it says it changed.</summary>
    public PassGraph After(Func<Graph, int> pass, int changed)
    {
        Graph.SortTopologically();
        ShapeInference.Infer(Graph);
        Assert.Equal(changed, pass(Graph));
        return this;
    }
}
