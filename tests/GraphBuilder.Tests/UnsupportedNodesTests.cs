using SorsaOrt.Ir;
using SorsaOrt.TestSupport;
using Xunit;

namespace SorsaOrt.GraphBuilder.Tests;

/// <summary>What cannot be trained through is refused before any work, all of it at once.</summary>
public sealed class UnsupportedNodesTests
{
    [Fact]
    public void EveryNode_IsNamedByOperator()
    {
        using var folder = new TemporaryFolder();
        var model = new TinyModel();
        var x = model.PackedMlp(model.Embeddings(), slices: false, bias: false);
        model.Op.Scope = "odd";
        x = model.Op.Unary("Mish", model.Op.Unary("Mish", x));
        x = model.Op.Emit("GroupQueryAttention", "com.microsoft", 1, [x, x, x], NodeAttribute.Of("num_heads", 2), NodeAttribute.Of("kv_num_heads", 2), NodeAttribute.Of("smooth_softmax", 1))[0];
        model.Write(x, folder.At("model.onnx"));
        var refusal = Assert.Throws<UnsupportedGraphException>(() => ArtifactBuilder.Build(new BuildOptions { ModelPath = folder.At("model.onnx"), OutputFolder = folder.At("artifacts"), Rank = 4 }));
        Assert.Equal("""
            3 nodes of the model cannot be trained through:
              com.microsoft::GroupQueryAttention, 1 node: smooth_softmax=1; 'odd/GroupQueryAttention'
              Mish, 2 nodes: there is no gradient rule for it; 'odd/Mish', 'odd/Mish_1'
            Export the model with standard operators in their place (torch.onnx or optimum, without further optimisation).
            """, refusal.Message);
        Assert.Equal(["model.onnx"], folder.Everything());
    }

    /// <summary>What no gradient has to pass may be anything.</summary>
    [Fact]
    public void NodesBesideThePath_DoNotMatter()
    {
        var model = new TinyModel();
        var x = model.Op.Unary("Mish", model.Embeddings());
        using var folder = new TemporaryFolder();
        model.Write(model.PackedMlp(x, slices: false, bias: false), folder.At("model.onnx"));
        Assert.Equal(3, ArtifactBuilder.Build(new BuildOptions { ModelPath = folder.At("model.onnx"), OutputFolder = folder.At("artifacts"), Rank = 4, Targets = "all-linear" }).Targets.Count);
    }
}
