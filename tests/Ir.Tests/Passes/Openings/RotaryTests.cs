using SorsaOrt.TestSupport;
using Xunit;

namespace SorsaOrt.Ir.Tests.Openings;

public sealed class RotaryTests
{
    private const int Batch = 2, Length = 5, Heads = 3, Size = 8, Positions = 32;

    /// <summary>com.microsoft: num_heads stands in the node, or 0 where the caches tell it.</summary>
    [Theory]
    [InlineData(false, 0, 0, false, false)]
    [InlineData(false, Heads, 0, true, false)]
    [InlineData(true, 0, 0, false, false)]
    [InlineData(true, 0, 0, true, true)]
    [InlineData(true, Heads, 0, false, true)]
    [InlineData(false, Heads, 4, false, true)]
    [InlineData(false, Heads, 4, true, false)]
    [InlineData(true, Heads, 4, false, false)]
    [InlineData(true, Heads, 4, true, false)]
    public void Microsoft_AgreesWithKernel(bool flat, int numHeads, int rotated, bool interleaved, bool offset)
    {
        var check = new OpeningCheck();
        var (cos, sin) = check.Angles(Positions, (rotated == 0 ? Size : rotated) / 2);
        var y = check.Op.Emit("RotaryEmbedding", OpeningCheck.Microsoft, 1, [Input(check, flat), offset ? Offset(check) : Places(check), cos, sin],
            NodeAttribute.Of("interleaved", interleaved ? 1 : 0), NodeAttribute.Of("num_heads", numHeads), NodeAttribute.Of("rotary_embedding_dim", rotated));
        check.Output(y[0]).AgreesWithKernel();
    }

    /// <summary>Opset 23: caches by position, or given for every token.</summary>
    [Theory]
    [InlineData(false, 0, false, true)]
    [InlineData(false, 0, true, false)]
    [InlineData(true, 0, false, false)]
    [InlineData(true, 0, true, true)]
    [InlineData(false, 4, false, true)]
    [InlineData(true, 4, true, false)]
    public void Standard_AgreesWithKernel(bool flat, int rotated, bool interleaved, bool byPosition)
    {
        var check = new OpeningCheck();
        var half = (rotated == 0 ? Size : rotated) / 2;
        Value?[] angles;
        if (byPosition)
        {
            var (cos, sin) = check.Angles(Positions, half);
            angles = [cos, sin, Places(check)];
        }
        else
        {
            Dim[] shape = [OpeningCheck.B, OpeningCheck.S, half];
            angles = [check.Floats("cos", shape, Batch, Length, half), check.Floats("sin", shape, Batch, Length, half)];
        }
        var y = check.Op.Emit("RotaryEmbedding", [Input(check, flat), .. angles], NodeAttribute.Of("interleaved", interleaved ? 1 : 0),
            NodeAttribute.Of("num_heads", Heads), NodeAttribute.Of("rotary_embedding_dim", rotated));
        check.Output(y).AgreesWithKernel();
    }

    private static Value Input(OpeningCheck check, bool flat) => flat
        ? check.Floats("x", [OpeningCheck.B, OpeningCheck.S, Heads * Size], Batch, Length, Heads * Size)
        : check.Floats("x", [OpeningCheck.B, Heads, OpeningCheck.S, Size], Batch, Heads, Length, Size);

    private static Value Places(OpeningCheck check) =>
        check.Feed("position_ids", [OpeningCheck.B, OpeningCheck.S], OrtTensor.Of<long>([0, 1, 2, 3, 4, 7, 8, 20, 30, 31], Batch, Length));

    private static Value Offset(OpeningCheck check) => check.Feed("position_ids", [1], OrtTensor.Of([3L], 1));
}
