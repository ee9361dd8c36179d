using SorsaOrt.Artifacts;
using SorsaOrt.Ir;
using SorsaOrt.Ir.Serialization;
using SorsaOrt.TestSupport;
using Xunit;

namespace SorsaOrt.GraphBuilder.Tests;

/// <summary>What makes the training graph fast and small: stacked adapters, cheap values computed again, tied weights left unpacked.</summary>
public sealed class TrainingGraphTests
{
    private const int Layers = 5;

    [Fact]
    public void AdaptersThatReadTheSameValue_ShareAProduct()
    {
        using var folder = new TemporaryFolder();
        using var model = Training(folder);
        var stacks = model.Graph.Nodes.Where(n => n.Is("Concat") && n.Inputs.All(i => i!.Name.EndsWith(".A", StringComparison.Ordinal))).ToList();
        Assert.Equal(2 * Layers, stacks.Count);
        Assert.All(stacks, s => Assert.Equal(s.Inputs[0]!.Name.Contains("self_attn", StringComparison.Ordinal) ? 3 : 2, s.Inputs.Count));
    }

    [Fact]
    public void CheapValues_AreComputedAgain_BehindGates()
    {
        using var folder = new TemporaryFolder();
        using var model = Training(folder);
        var gates = model.Graph.Nodes.Count(n => n.Is("Reshape") && n.Name.StartsWith("sorsa/again/", StringComparison.Ordinal)
            && n.Inputs[1]!.Producer is { } shape && shape.Is("Shape") && shape.Name.StartsWith("sorsa/again/", StringComparison.Ordinal));
        // Two norms, gate and up of each layer; the first norm stands below every adapter, so no gradient arrives there.
        Assert.Equal(4 * Layers - 1, gates);
        Assert.Equal(2 * Layers, model.Graph.Nodes.Count(n => n.Is("Sigmoid")));
    }

    [Fact]
    public void RotaryEmbeddings_AreOneOperator_ForwardAndBackward()
    {
        using var folder = new TemporaryFolder();
        using var model = Training(folder);
        var rotations = model.Graph.Nodes.Where(n => n.Is("RotaryEmbedding", "com.microsoft")).ToList();
        // Queries and keys of each layer, there and back.
        Assert.Equal(4 * Layers, rotations.Count);
        Assert.Equal(2, rotations.Select(r => r.Inputs[3]).Distinct().Count());
        Assert.Equal(1, model.Opsets["com.microsoft"]);
    }

    [Fact]
    public void RootsOfNormalisations_ComeFromTheForwardPass()
    {
        using var folder = new TemporaryFolder();
        using var model = Training(folder);
        Assert.DoesNotContain(model.Graph.Nodes, n => n.OpType is "ReduceSumSquare" or "Reciprocal");
        // Two norms of each layer and the last, but for the first, which no gradient passes.
        Assert.Equal(2 * Layers, model.Graph.Nodes.Count(n => n.Is("SimplifiedLayerNormalization") && n.Outputs.Count == 2));
    }

    [Fact]
    public void WeightsLookedUpInOrMultipliedThrice_AreInputsWithADefault_OthersAreNot()
    {
        var op = new OpBuilder(new Graph("g"));
        var ids = op.Graph.AddInput("ids", new TensorType(ElementType.Int64, [3]));
        var tied = op.Graph.AddInitializer("tied", InMemoryTensor.Of(new float[32 * 16], 32, 16));
        var own = op.Graph.AddInitializer("own", InMemoryTensor.Of(new float[32 * 16], 16, 32));
        op.Graph.AddOutput(op.Gemm(op.Gemm(op.Gather(tied, ids), own), own, transB: true));
        op.Graph.AddOutput(op.Gemm(op.Gather(tied, ids), tied, transB: true));
        var again = op.Graph.AddInitializer("again", InMemoryTensor.Of(new float[16 * 16], 16, 16));
        op.Graph.AddOutput(op.Gemm(op.Gemm(op.Gemm(op.Gather(tied, ids), again), again), again, transB: true));
        TiedWeights.LeaveUnpacked(op.Graph);
        Assert.Equal(["ids", "tied", "again"], op.Graph.Inputs.Select(i => i.Name));
        Assert.NotNull(tied.Constant);
    }

    private static Model Training(TemporaryFolder folder)
    {
        ArtifactBuilder.Build(new BuildOptions { ModelPath = Paths.Fixture("nano-llama", "optimum-no-past.onnx"), OutputFolder = folder.At("artifacts"), Rank = 8, Threads = 1 });
        return OnnxReader.Read(Path.Combine(folder.At("artifacts"), ArtifactFiles.TrainingModel));
    }
}
