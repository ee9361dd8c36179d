using Xunit;

namespace SorsaOrt.Ir.Tests.Openings;

/// <summary>Products with quantised weights against ONNX Runtime's own kernel; their bytes through a matrix and back.</summary>
public sealed class QuantizedOpeningsTests
{
    [Theory]
    [InlineData(4, 32, 64, false, false)]
    [InlineData(4, 16, 40, true, true)] // three blocks, the last of 8: rows and zero points that end within a byte's block
    [InlineData(4, 32, 33, true, false)]
    [InlineData(8, 32, 64, true, false)]
    [InlineData(8, 16, 40, false, true)]
    public void MatMulNBits(int bits, int block, int k, bool zeros, bool flatScales)
    {
        var check = new OpeningCheck { Padding = 0 };
        Product(check, bits, block, k, zeros, flatScales);
        check.AgreesWithKernel(1e-5);
    }

    [Fact]
    public void MatMulNBits_WithBias()
    {
        var check = new OpeningCheck();
        Product(check, 4, 32, 64, zeros: false, flatScales: false, bias: true);
        check.AgreesWithKernel(1e-5);
    }

    /// <summary>Read and encoded again every byte is the same, those that fill up rows included; encoded with other values, what is read is their nearest.</summary>
    [Theory]
    [InlineData(4, 16, 40, true)]
    [InlineData(4, 32, 33, false)]
    [InlineData(8, 16, 40, true)]
    public void Bytes_SurviveReadingAndEncoding(int bits, int block, int k, bool zeros)
    {
        var check = new OpeningCheck();
        var node = Product(check, bits, block, k, zeros, flatScales: false);
        var weight = QuantizedWeight.Of(node)!;
        var matrix = weight.Read();
        var encoded = weight.Encode(matrix.WithValues(matrix.ToFloat32()));
        Assert.Equal(node.Inputs[1]!.Constant!.ToArray<byte>(), encoded.Values);
        Assert.Equal(((InMemoryTensor)node.Inputs[2]!.Constant!).Bytes, encoded.Scales);
        Assert.Equal(zeros ? node.Inputs[3]!.Constant!.ToArray<byte>() : null, encoded.Zeros);
        var doubled = Array.ConvertAll(matrix.ToFloat32(), v => 2 * v);
        var other = weight.Encode(matrix.WithValues(doubled));
        check.Graph.MakeInitializer(node.Inputs[1]!, new InMemoryTensor(ElementType.UInt8, node.Inputs[1]!.Constant!.Shape, other.Values));
        check.Graph.MakeInitializer(node.Inputs[2]!, new InMemoryTensor(ElementType.Float32, node.Inputs[2]!.Constant!.Shape, other.Scales));
        if (other.Zeros is not null)
            check.Graph.MakeInitializer(node.Inputs[3]!, new InMemoryTensor(ElementType.UInt8, node.Inputs[3]!.Constant!.Shape, other.Zeros));
        var again = QuantizedWeight.Of(node)!.Read();
        Assert.All(doubled.Zip(again.ToFloat32()).Select((p, i) => (p.First, p.Second, Scale: again.Scales[i / k * ((k + block - 1) / block) + i % k / block])),
            p => Assert.InRange(Math.Abs(p.First - p.Second), 0, 0.51 * Math.Abs(p.Scale)));
    }

    private static Node Product(OpeningCheck check, int bits, int block, int k, bool zeros, bool flatScales, bool bias = false)
    {
        const int N = 6;
        var random = new Random(3);
        var blocks = (k + block - 1) / block;
        Value Bytes(string name, params long[] shape)
        {
            var bytes = new byte[shape.Aggregate(1L, (p, d) => p * d)];
            random.NextBytes(bytes);
            return check.Graph.AddInitializer(name, new InMemoryTensor(ElementType.UInt8, shape, bytes));
        }
        var x = check.Floats("x", [OpeningCheck.B, OpeningCheck.S, Dim.Of(k)], 2, 3, k);
        var inputs = new List<Value?> { x, Bytes("w", N, blocks, block * bits / 8), flatScales ? check.Weight(N * blocks) : check.Weight(N, blocks) };
        if (zeros)
            inputs.Add(flatScales ? Bytes("z", N * ((blocks * bits + 7) / 8)) : Bytes("z", N, (blocks * bits + 7) / 8));
        if (bias)
            inputs.AddRange([null, null, check.Weight(N)]);
        var y = check.Op.Emit("MatMulNBits", OpeningCheck.Microsoft, 1, inputs,
            NodeAttribute.Of("K", k), NodeAttribute.Of("N", N), NodeAttribute.Of("bits", bits), NodeAttribute.Of("block_size", block))[0];
        check.Output(y);
        return y.Producer!;
    }
}
