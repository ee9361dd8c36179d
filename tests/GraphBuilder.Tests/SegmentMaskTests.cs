using SorsaOrt.Ir;
using SorsaOrt.Ir.Serialization;
using SorsaOrt.TestSupport;
using Xunit;

namespace SorsaOrt.GraphBuilder.Tests;

/// <summary>Samples share rows only where every layer keeps them apart.</summary>
public sealed class SegmentMaskTests
{
    [Theory]
    [InlineData(0, 5)]
    [InlineData(1, 0)]
    public void OneAttentionNotRecognised_ChangesNothing(int hidden, int rewritten)
    {
        using var model = OnnxReader.Read(Paths.Fixture("nano-llama", "optimum-no-past.onnx"));
        var prepared = PreparedModel.From(model);
        foreach (var softmax in model.Graph.Nodes.Where(n => n.Is("Softmax")).TakeLast(hidden))
            softmax.Inputs[0]!.Type = new TensorType(ElementType.Float32, null);
        var before = model.Graph.ToString();
        Assert.Equal(rewritten, SegmentMask.Apply(prepared));
        Assert.Equal(rewritten == 0, before == model.Graph.ToString());
    }
}
