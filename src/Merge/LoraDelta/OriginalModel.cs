using SorsaOrt.Artifacts;
using SorsaOrt.Ir;
using SorsaOrt.Ir.Serialization;

namespace SorsaOrt.Merge.LoraDelta;

/// <summary>The user's model as it was before training, out of its artifacts.</summary>
internal static class OriginalModel
{
    /// <summary>Reads it. A weight whose residual took its place (same element type) is folded again: W = Wr + scale·B₀·diag(S₀)·A₀, its last bit apart.</summary>
    /// <param name="artifacts">The artifacts.</param>
    /// <param name="start">The factors as built, kept open while the model is used.</param>
    /// <param name="frozen">The graph of eval_model.onnx, likewise.</param>
    public static Model Read(ArtifactSet artifacts, SafetensorsReader start, Graph frozen)
    {
        var manifest = artifacts.Manifest;
        var model = OnnxReader.Read(artifacts.PathOf(ArtifactFiles.SourceModel));
        try
        {
            var residuals = manifest.ResidualType == Manifest.StoredResidual ? "f32" : manifest.ResidualType;
            var replaced = manifest.Targets.Where(t => t.StaysStored != true && !AdaptedWeights.HasOwnResidual(t) && t.ElementType == residuals);
            ModelMerger.PutWeights(model.Graph, replaced, new AdaptedWeights(manifest, start, start, frozen), null);
            return model;
        }
        catch
        {
            model.Dispose();
            throw;
        }
    }
}
