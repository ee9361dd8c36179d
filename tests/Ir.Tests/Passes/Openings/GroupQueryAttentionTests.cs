using SorsaOrt.TestSupport;
using Xunit;

namespace SorsaOrt.Ir.Tests.Openings;

public sealed class GroupQueryAttentionTests
{
    private const int Batch = 2, Length = 7, Size = 16;

    [Theory]
    [InlineData(4, 4, false, false)]
    [InlineData(8, 4, false, false)]
    [InlineData(8, 4, true, false)]
    [InlineData(6, 1, true, false)]
    [InlineData(8, 4, false, true)]
    [InlineData(8, 2, true, true)]
    [InlineData(3, 3, true, true)]
    public void WithRotation_AgreesWithKernel(int heads, int kvHeads, bool packed, bool interleaved) =>
        Attention(heads, kvHeads, packed, rotary: true, NodeAttribute.Of("rotary_interleaved", interleaved ? 1 : 0)).AgreesWithKernel();

    [Theory]
    [InlineData(4, 4, false)]
    [InlineData(8, 2, false)]
    [InlineData(8, 2, true)]
    public void WithoutRotation_AgreesWithKernel(int heads, int kvHeads, bool packed) => Attention(heads, kvHeads, packed, rotary: false).AgreesWithKernel();

    /// <summary>A query of padding whose whole window is padding gives zeros in the kernel; here, where no label is, something finite.</summary>
    [Theory]
    [InlineData(1, 0)]
    [InlineData(2, 0)]
    [InlineData(3, 2)]
    [InlineData(6, 2)]
    [InlineData(7, 2)]
    public void LocalWindow_AgreesWithKernel(int window, int padding) =>
        Build(new OpeningCheck { Padding = padding }, 4, 2, false, false, [], NodeAttribute.Of("local_window_size", window)).AgreesWithKernel();

    [Fact]
    public void ScaleAndSoftcap_AgreeWithKernel() =>
        Attention(4, 2, true, true, NodeAttribute.Of("scale", 0.7f), NodeAttribute.Of("softcap", 0.5f)).AgreesWithKernel();

    [Theory]
    [InlineData(1)]
    [InlineData(4)]
    public void Bias_AgreesWithKernel(int heads)
    {
        var check = new OpeningCheck();
        var bias = check.Floats("bias", [1, heads, OpeningCheck.S, OpeningCheck.S], 1, heads, Length, Length);
        Build(check, 4, 2, false, false, [null, bias]).AgreesWithKernel();
    }

    [Fact]
    public void GivenPositions_AgreeWithKernel()
    {
        var check = new OpeningCheck();
        var positions = check.Feed("position_ids", [OpeningCheck.B, OpeningCheck.S],
            OrtTensor.Of(Enumerable.Range(0, Batch * Length).Select(i => (long)(i % Length)).ToArray(), Batch, Length));
        Build(check, 4, 2, false, true, [positions]).AgreesWithKernel();
    }

    [Fact]
    public void WhatIsNotKnown_IsRefusedByName()
    {
        Assert.Equal(["GroupQueryAttention: smooth_softmax=1"], Attention(4, 2, false, false, NodeAttribute.Of("smooth_softmax", 1)).Refusals());
        var check = new OpeningCheck();
        Build(check, 4, 2, false, false, [null, null, check.Weight(4)]);
        Assert.Equal(["GroupQueryAttention: the input head_sink"], check.Refusals());
    }

    private static OpeningCheck Attention(int heads, int kvHeads, bool packed, bool rotary, params NodeAttribute[] attributes) =>
        Build(new OpeningCheck(), heads, kvHeads, packed, rotary, [], attributes);

    private static OpeningCheck Build(OpeningCheck check, int heads, int kvHeads, bool packed, bool rotary, Value?[] more, params NodeAttribute[] attributes)
    {
        Value Part(string name, int n) => check.Floats(name, [OpeningCheck.B, OpeningCheck.S, n * Size], Batch, Length, n * Size);
        Value?[] parts = packed ? [Part("qkv", heads + 2 * kvHeads), null, null] : [Part("q", heads), Part("k", kvHeads), Part("v", kvHeads)];
        var ends = check.Feed("seqlens_k", [OpeningCheck.B], OrtTensor.Of<int>([Length - 1, Length - 1 - check.Padding], Batch));
        var total = check.Feed("total_sequence_length", [], OrtTensor.Scalar(Length));
        var (cos, sin) = rotary ? check.Angles(32, Size / 2) : (null!, null!);
        var outputs = check.Op.Emit("GroupQueryAttention", OpeningCheck.Microsoft, 3, [.. parts, null, null, ends, total, cos, sin, .. more],
            [NodeAttribute.Of("num_heads", heads), NodeAttribute.Of("kv_num_heads", kvHeads), NodeAttribute.Of("do_rotary", rotary ? 1 : 0), .. attributes]);
        return check.Output(outputs[0]);
    }
}
