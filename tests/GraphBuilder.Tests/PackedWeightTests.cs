using SorsaOrt.Artifacts;
using SorsaOrt.Engines;
using SorsaOrt.Ir;
using SorsaOrt.TestSupport;
using Xunit;

namespace SorsaOrt.GraphBuilder.Tests;

/// <summary>Several Linears in one stored weight, cut apart behind the product.</summary>
public sealed class PackedWeightTests
{
    [Theory]
    [InlineData(false, false)]
    [InlineData(false, true)]
    [InlineData(true, false)]
    [InlineData(true, true)]
    public void GateAndUp_AreFoundAsSlices_HoweverTheyAreCut(bool slices, bool bias)
    {
        using var folder = new TemporaryFolder();
        var model = new TinyModel();
        model.Write(model.PackedMlp(model.Embeddings(), slices, bias), folder.At("model.onnx"));
        var sites = PreparedModel.From(model.Model()).Sites;
        Assert.Equal(
            [("model.layers.0.mlp.gate_proj", "gate_up", 0, 12), ("model.layers.0.mlp.up_proj", "gate_up", 12, 12), ("model.layers.0.mlp.down_proj", "down", -1, 8), ("lm_head", "head", -1, 20)],
            sites.Select(s => (s.Module, s.Weight.Name, s.SliceStart ?? -1, s.Out)));
    }

    [Theory]
    [InlineData(AdapterMethod.Sorsa, "gate_proj,up_proj,down_proj", ElementType.Float32)]
    [InlineData(AdapterMethod.Sorsa, "up_proj", ElementType.Float32)]
    [InlineData(AdapterMethod.Lora, "gate_proj", ElementType.Float16)]
    [InlineData(AdapterMethod.Full, "gate_proj,up_proj", ElementType.Float32)]
    [InlineData(AdapterMethod.Full, "up_proj", ElementType.Float32)]
    public void NoStepTaken_GivesTheModelsLogits(AdapterMethod method, string targets, ElementType residual)
    {
        using var folder = new TemporaryFolder();
        var model = new TinyModel();
        model.Write(model.PackedMlp(model.Embeddings(), slices: false, bias: true), folder.At("model.onnx"));
        ArtifactBuilder.Build(new BuildOptions
        {
            ModelPath = folder.At("model.onnx"),
            OutputFolder = folder.At("artifacts"),
            Method = method,
            Rank = 4,
            Targets = targets,
            ResidualType = residual,
        });
        using var engine = SessionEngine.Open(ArtifactSet.Open(folder.At("artifacts"), Verification.Full), new EngineOptions { Threads = 1, Training = false });
        var logits = engine.Logits(new TokenBatch { BatchSize = 2, SequenceLength = 3, InputIds = TinyModel.Ids, LabelPositions = [0, 1, 2, 3, 4, 5] }).ToArray();
        // A residual stored in float16 is rounded, the adapter does not know of it.
        var tolerance = residual == ElementType.Float16 ? 2e-2f : 1e-5f;
        Assert.All(TinyModel.Logits(folder.At("model.onnx")).Zip(logits), p => Assert.Equal(p.First, p.Second, tolerance));
    }
}
