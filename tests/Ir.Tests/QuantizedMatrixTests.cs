using SorsaOrt.TestSupport;
using Xunit;

namespace SorsaOrt.Ir.Tests;

/// <summary>Matrices of small integers: what DequantizeLinear makes of them, and quantising.</summary>
public sealed class QuantizedMatrixTests
{
    [Theory]
    [InlineData(ElementType.Int4, 3, 70)]
    [InlineData(ElementType.Int8, 3, 70)]
    [InlineData(ElementType.Int4, 5, 33)]
    [InlineData(ElementType.Int4, 1, 1)]
    public void Quantized_IsReadAsOnnxRuntimeReadsIt_WithinHalfAStep(ElementType type, int rows, int columns)
    {
        var values = Random(rows * columns);
        var matrix = QuantizedMatrix.Quantize(values, rows, columns, type);
        var floats = matrix.ToFloat32();
        Assert.Equal(ByOnnxRuntime(matrix, rows, columns), floats);
        for (var i = 0; i < values.Length; i++)
        {
            var scale = Math.Abs(matrix.Scales[i / columns * QuantizedMatrix.BlocksOf(columns, 32) + i % columns / 32]);
            // The end of the range that has one step less is cut by up to a whole step.
            Assert.InRange(Math.Abs(values[i] - floats[i]), 0, (type == ElementType.Int4 ? 1.001f : 0.501f) * scale);
        }
    }

    [Theory]
    [InlineData(ElementType.UInt4, 4, 40, 1, 32, true)]
    [InlineData(ElementType.UInt4, 4, 40, 1, 32, false)]
    [InlineData(ElementType.Int8, 6, 10, 1, 10, false)]
    [InlineData(ElementType.Int8, 6, 10, 6, 1, false)]
    [InlineData(ElementType.UInt8, 6, 10, 6, 10, false)]
    [InlineData(ElementType.Int4, 40, 7, 16, 1, false)]
    public void Requantised_KeepsItsForm_AndItsBytesWhereNothingChanged(ElementType type, int rows, int columns, int blockRows, int blockColumns, bool symmetric)
    {
        var random = new Random(3);
        var blocks = QuantizedMatrix.BlocksOf(rows, blockRows) * QuantizedMatrix.BlocksOf(columns, blockColumns);
        var elements = new byte[type.ByteSize(rows * columns)];
        var zeros = type is ElementType.UInt4 or ElementType.UInt8 ? new byte[type.ByteSize(blocks)] : null;
        random.NextBytes(elements);
        if (zeros is not null && symmetric)
            Array.Fill(zeros, (byte)0x88);
        else if (zeros is not null)
            random.NextBytes(zeros);
        var scales = Enumerable.Range(0, blocks).Select(_ => (float)(Half)random.NextSingle()).ToArray();
        var matrix = QuantizedMatrix.Of(type, rows, columns, blockRows, blockColumns, ElementType.Float16, elements, scales, zeros);
        var floats = matrix.ToFloat32();
        var same = matrix.WithValues(floats);
        Assert.Equal(elements, same.Elements.ToArray());
        Assert.Equal(matrix.ScaleBytes(), same.ScaleBytes());
        Assert.Equal(zeros, same.Zeros);

        var other = Random(rows * columns);
        var changed = matrix.WithValues(other);
        Assert.Equal((type, blockRows, blockColumns, zeros?.Length), (changed.Type, changed.BlockRows, changed.BlockColumns, changed.Zeros?.Length));
        if (symmetric)
            Assert.Equal(zeros, changed.Zeros);
        var step = 2f / (type.BitSize() == 4 ? 15 : 255);
        Assert.All(changed.ToFloat32().Zip(other), p => Assert.InRange(Math.Abs(p.First - p.Second), 0, 1.2f * step));
    }

    [Fact]
    public void ZeroAndOneValue_AreExact()
    {
        Assert.All(QuantizedMatrix.Quantize(new float[64], 2, 32, ElementType.Int4).ToFloat32(), v => Assert.Equal(0, v));
        var one = new float[64];
        one[5] = -3;
        Assert.Equal(one, QuantizedMatrix.Quantize(one, 2, 32, ElementType.Int4).ToFloat32());
    }

    [Fact]
    public void PartsThatDoNotFit_AreRefused() =>
        Assert.Throws<ModelFormatException>(() => QuantizedMatrix.Of(ElementType.Int8, 2, 3, 1, 3, ElementType.Float32, new byte[6], new float[3], null));

    private static float[] Random(int count)
    {
        var random = new Random(11);
        return [.. Enumerable.Range(0, count).Select(_ => 2 * random.NextSingle() - 1)];
    }

    private static float[] ByOnnxRuntime(QuantizedMatrix matrix, int rows, int columns)
    {
        var graph = new Graph("g");
        var op = new OpBuilder(graph);
        var q = graph.AddInitializer("q", new InMemoryTensor(matrix.Type, [rows, columns], matrix.Elements.ToArray()));
        var scales = graph.AddInitializer("s", new InMemoryTensor(ElementType.Float32, [rows, QuantizedMatrix.BlocksOf(columns, 32)], matrix.ScaleBytes()));
        var y = op.Emit("DequantizeLinear", [q, scales], NodeAttribute.Of("axis", 1), NodeAttribute.Of("block_size", 32));
        graph.Rename(y, "y");
        graph.AddOutput(y);
        var model = new Model(graph) { IrVersion = 10 };
        model.Opsets[""] = OpBuilder.WorkingOpset;
        return OrtRun.Run(model, new Dictionary<string, OrtTensor>())["y"].As<float>();
    }
}
