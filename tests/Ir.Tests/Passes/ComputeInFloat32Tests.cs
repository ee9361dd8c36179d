using SorsaOrt.Ir.Passes;
using SorsaOrt.TestSupport;
using Xunit;

namespace SorsaOrt.Ir.Tests;

public sealed class ComputeInFloat32Tests
{
    private const int Rows = 64, Width = 32;

    /// <summary>Embedding, a transposed weight, a bias, a scalar: the matrices stay narrow, the numbers are those of the file.</summary>
    [Theory]
    [InlineData(ElementType.Float16)]
    [InlineData(ElementType.BFloat16)]
    public void NarrowModel_ComputesInFloat32_WithMatricesAsStored(ElementType type)
    {
        var graph = new Graph("narrow");
        var op = new OpBuilder(graph) { Scope = "n" };
        var (table, tableValues) = Stored(graph, "table", type, Rows, Width);
        var (weight, weightValues) = Stored(graph, "weight", type, 2 * Width, Width);
        var (bias, biasValues) = Stored(graph, "bias", type, 2 * Width);
        var ids = graph.AddInput("ids", new TensorType(ElementType.Int64, [PassGraph.S]));
        var half = op.Constant(InMemoryTensor.Scalar(type, 0.5));
        var wide = op.Cast(op.Gather(table, ids), ElementType.Float32);
        var y = op.Add(op.MatMul(op.Mul(op.Cast(wide, type), half), op.Transpose(weight, 1, 0)), bias);
        graph.Rename(y, "y");
        graph.AddOutput(y);

        Assert.True(ComputeInFloat32.Run(graph) > 0);
        Assert.Equal((type, type, ElementType.Float32, ElementType.Float32), (table.Constant!.ElementType, weight.Constant!.ElementType, bias.Constant!.ElementType, y.ElementType));
        // Rows are widened once they are picked, not the table.
        Assert.Equal(["Gather"], table.Uses.Select(u => u.Node.OpType));
        long[] picked = [3, 0, 63];
        var model = new Model(graph);
        model.Opsets[""] = OpBuilder.WorkingOpset;
        var actual = OrtRun.Run(model, new Dictionary<string, OrtTensor> { ["ids"] = OrtTensor.Of(picked, 3) })["y"].As<float>();
        for (var i = 0; i < actual.Length; i++)
        {
            var (row, column) = ((int)picked[i / (2 * Width)], i % (2 * Width));
            var expected = biasValues[column] + Enumerable.Range(0, Width).Sum(k => 0.5 * tableValues[row * Width + k] * weightValues[column * Width + k]);
            Assert.Equal(expected, actual[i], 1e-5);
        }
    }

    [Fact]
    public void WideModel_IsLeftAlone()
    {
        var g = new PassGraph();
        g.Output(g.Op.Mul(g.Input(PassGraph.B, 4), g.F(1, 2, 3, 4)));
        Assert.Equal("Mul -> y", g.After(ComputeInFloat32.Run, 0).Text);
    }

    private static (Value Value, double[] Numbers) Stored(Graph graph, string name, ElementType type, params long[] shape)
    {
        var random = new Random(name.Length);
        var floats = Enumerable.Range(0, (int)shape.Aggregate(1L, (p, d) => p * d)).Select(_ => 2 * random.NextSingle() - 1).ToArray();
        InMemoryTensor data = type == ElementType.Float16 ? InMemoryTensor.Of<Half>(type, Array.ConvertAll(floats, f => (Half)f), shape)
            : InMemoryTensor.Of<ushort>(type, Array.ConvertAll(floats, f => (ushort)(BitConverter.SingleToUInt32Bits(f) >> 16)), shape);
        return (graph.AddInitializer(name, data), data.ToFloat64()!);
    }
}
