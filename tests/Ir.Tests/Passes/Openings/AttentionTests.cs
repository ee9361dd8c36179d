using SorsaOrt.TestSupport;
using Xunit;

namespace SorsaOrt.Ir.Tests.Openings;

public sealed class AttentionTests
{
    private const int Batch = 2, Queries = 5, Keys = 7, Size = 6;

    [Theory]
    [InlineData(4, 4, false)]
    [InlineData(6, 2, false)]
    [InlineData(4, 4, true)]
    [InlineData(6, 2, true)]
    public void Causal_AgreesWithKernel(int heads, int kvHeads, bool flat) =>
        Build(new OpeningCheck(), heads, kvHeads, flat, Queries, null, NodeAttribute.Of("is_causal", 1)).AgreesWithKernel();

    [Theory]
    [InlineData(4, 4, 1, true)]
    [InlineData(6, 2, 1, true)]
    [InlineData(6, 2, 6, true)]
    [InlineData(4, 4, 4, false)]
    [InlineData(6, 2, 1, false)]
    [InlineData(6, 2, 6, false)]
    public void Mask_AgreesWithKernel(int heads, int kvHeads, int maskHeads, bool bools)
    {
        var check = new OpeningCheck();
        Dim[] shape = [OpeningCheck.B, maskHeads, OpeningCheck.S, OpeningCheck.T];
        long[] lengths = [Batch, maskHeads, Queries, Keys];
        // The first key is always seen.
        var mask = bools ? check.Feed("mask", shape, OrtTensor.Of([.. check.Random(lengths).Select((v, i) => v > 0 || i % Keys == 0)], lengths)) : check.Floats("mask", shape, lengths);
        Build(check, heads, kvHeads, false, Keys, mask).AgreesWithKernel();
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void MaskOfTwoAxes_WithCausal_AgreesWithKernel(bool bools)
    {
        var check = new OpeningCheck();
        Dim[] shape = [OpeningCheck.S, OpeningCheck.T];
        var mask = bools ? check.Feed("mask", shape, OrtTensor.Of([.. check.Random(Queries, Queries).Select((v, i) => v > 0 || i % Queries == 0)], Queries, Queries))
            : check.Floats("mask", shape, Queries, Queries);
        Build(check, 6, 2, true, Queries, mask, NodeAttribute.Of("is_causal", 1)).AgreesWithKernel();
    }

    [Fact]
    public void ScaleAndSoftcap_AgreeWithKernel()
    {
        var check = new OpeningCheck();
        var mask = check.Floats("mask", [OpeningCheck.S, OpeningCheck.T], Queries, Keys);
        Build(check, 4, 2, false, Keys, mask, NodeAttribute.Of("scale", 1.3f), NodeAttribute.Of("softcap", 0.6f)).AgreesWithKernel();
    }

    [Fact]
    public void PresentThatIsRead_IsRefused()
    {
        var check = new OpeningCheck();
        Build(check, 4, 4, false, Keys, null);
        check.Output(check.Graph.Nodes[0].Outputs[1]!);
        Assert.Equal(["Attention: its output 1, 'fused/Attention:1', is read"], check.Refusals());
    }

    private static OpeningCheck Build(OpeningCheck check, int heads, int kvHeads, bool flat, int keys, Value? mask, params NodeAttribute[] attributes)
    {
        Value Part(string name, int n, int length, Dim axis) => flat
            ? check.Floats(name, [OpeningCheck.B, axis, n * Size], Batch, length, n * Size)
            : check.Floats(name, [OpeningCheck.B, n, axis, Size], Batch, n, length, Size);
        var y = check.Op.Emit("Attention", "", 2, [Part("q", heads, Queries, OpeningCheck.S), Part("k", kvHeads, keys, OpeningCheck.T), Part("v", kvHeads, keys, OpeningCheck.T), mask],
            [.. attributes, .. flat ? (NodeAttribute[])[NodeAttribute.Of("q_num_heads", heads), NodeAttribute.Of("kv_num_heads", kvHeads)] : []]);
        return check.Output(y[0]);
    }
}
