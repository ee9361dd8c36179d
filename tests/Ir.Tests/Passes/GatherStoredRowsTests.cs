using SorsaOrt.Ir.Passes;
using SorsaOrt.TestSupport;
using Xunit;

namespace SorsaOrt.Ir.Tests;

public sealed class GatherStoredRowsTests
{
    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    public void TransposedTable_IsReadAsStored_WithTheSameRows(int axes)
    {
        var g = new PassGraph();
        var table = g.Graph.AddInitializer("table", InMemoryTensor.Of([.. Enumerable.Range(0, 15).Select(i => (float)i)], 3, 5));
        Dim[] shape = axes == 1 ? [PassGraph.S] : [PassGraph.B, PassGraph.S];
        var ids = g.Graph.AddInput("ids", new TensorType(ElementType.Int64, shape));
        g.Output(g.Op.Gather(g.Op.Transpose(table, 1, 0), ids));
        Assert.Equal("Gather Transpose -> y", g.After(GatherStoredRows.Run, 1).Text);
        Assert.Equal(axes == 1 ? "f32[s,3]" : "f32[b,s,3]", g.Graph.Outputs[0].Type!.ToString());
        var rows = OrtRun.Run(g.Model(OpBuilder.WorkingOpset), new Dictionary<string, OrtTensor> { ["ids"] = OrtTensor.Of([4L, 0, 4, 2], axes == 1 ? [4] : [2, 2]) })["y"].As<float>();
        Assert.Equal([4, 9, 14, 0, 5, 10, 4, 9, 14, 2, 7, 12], rows);
    }
}
