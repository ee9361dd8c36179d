using SorsaOrt.TestSupport;
using Xunit;

namespace SorsaOrt.Ir.Tests.Openings;

public sealed class OtherOpeningsTests
{
    private const int Batch = 2, Length = 5, Width = 12;

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void SkipSimplifiedLayerNormalization_AgreesWithKernel(bool bias)
    {
        var check = new OpeningCheck();
        var outputs = check.Op.Emit("SkipSimplifiedLayerNormalization", OpeningCheck.Microsoft, 4,
            [Tokens(check, "x"), Tokens(check, "skip"), check.Weight(Width), bias ? check.Weight(Width) : null], NodeAttribute.Of("epsilon", 1e-3f));
        check.Output(outputs[0], outputs[3]).AgreesWithKernel();
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void SkipLayerNormalization_AgreesWithKernel(bool bias)
    {
        var check = new OpeningCheck();
        var outputs = check.Op.Emit("SkipLayerNormalization", OpeningCheck.Microsoft, 4,
            [Tokens(check, "x"), Tokens(check, "skip"), check.Weight(Width), bias ? check.Weight(Width) : null, bias ? check.Weight(Width) : null], NodeAttribute.Of("epsilon", 1e-3f));
        check.Output(outputs[0], outputs[3]).AgreesWithKernel();
    }

    [Fact]
    public void RmsNormalization_AgreesWithKernel()
    {
        var check = new OpeningCheck();
        var y = check.Op.Emit("RMSNormalization", [Tokens(check, "x"), check.Weight(Width)], NodeAttribute.Of("axis", -1), NodeAttribute.Of("epsilon", 1e-3f));
        check.Output(y).AgreesWithKernel();
    }

    [Fact]
    public void BiasGelu_AgreesWithKernel()
    {
        var check = new OpeningCheck();
        check.Output(check.Op.Emit("BiasGelu", OpeningCheck.Microsoft, 1, [Tokens(check, "x"), check.Weight(Width)])).AgreesWithKernel();
    }

    /// <summary>ONNX Runtime has no kernel for it: X / (1 + exp(−α·X)) in 64 bits.</summary>
    [Theory]
    [InlineData(1f)]
    [InlineData(1.7f)]
    public void Swish_AgreesWithItsDefinition(float alpha)
    {
        var check = new OpeningCheck();
        var data = check.Random(Batch, Length, Width);
        var x = check.Feed("x", [OpeningCheck.B, OpeningCheck.S, Width], OrtTensor.Of(data, Batch, Length, Width));
        check.Output(check.Op.Emit("Swish", [x], NodeAttribute.Of("alpha", alpha)));
        check.Gives(Array.ConvertAll(data, v => (float)(v / (1 + Math.Exp(-(double)alpha * v)))));
    }

    [Theory]
    [InlineData(false, false, 0)]
    [InlineData(true, true, 0)]
    [InlineData(false, false, 2)]
    [InlineData(true, false, 3)]
    public void MultiHeadAttention_AgreesWithKernel(bool bias, bool unidirectional, int paddingAxes)
    {
        var check = new OpeningCheck();
        const int Keys = 5;
        var (q, k, v) = (Tokens(check, "q"), Tokens(check, "k"), Tokens(check, "v"));
        int[] seen = [1, 1, 1, 1, 1, 1, 1, 1, 0, 0];
        var padding = paddingAxes switch
        {
            2 => check.Feed("padding", [OpeningCheck.B, OpeningCheck.S], OrtTensor.Of(seen, Batch, Keys)),
            3 => check.Feed("padding", [OpeningCheck.B, OpeningCheck.S, OpeningCheck.S],
                OrtTensor.Of([.. seen.Chunk(Keys).SelectMany(row => Enumerable.Repeat(row, Length)).SelectMany(r => r)], Batch, Length, Keys)),
            _ => null,
        };
        var attentionBias = check.Floats("bias", [OpeningCheck.B, 3, OpeningCheck.S, OpeningCheck.S], Batch, 3, Length, Keys);
        var y = check.Op.Emit("MultiHeadAttention", OpeningCheck.Microsoft, 1, [q, k, v, bias ? check.Weight(3 * Width) : null, padding, attentionBias],
            NodeAttribute.Of("num_heads", 3), NodeAttribute.Of("unidirectional", unidirectional ? 1 : 0));
        check.Output(y[0]).AgreesWithKernel();
    }

    private static Value Tokens(OpeningCheck check, string name) => check.Floats(name, [OpeningCheck.B, OpeningCheck.S, Width], Batch, Length, Width);
}
