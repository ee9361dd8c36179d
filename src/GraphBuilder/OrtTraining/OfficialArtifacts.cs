using SorsaOrt.Artifacts;
using SorsaOrt.Artifacts.OrtFormats;
using SorsaOrt.Ir;
using SorsaOrt.Ir.Serialization;

namespace SorsaOrt.GraphBuilder.OrtTraining;

/// <summary>The four files of the official on-device training runtime, beside what the folder holds anyway.</summary>
/// <remarks>Limits of ONNX Runtime 1.19.2, the last release with training: ../shared/conformance/ort-training/SPEC.md section 2.4.</remarks>
internal static class OfficialArtifacts
{
    /// <summary>Frozen weights up to this size stand inside the models: the WebAssembly runtime cannot read external data.</summary>
    public const long InlineBytes = 256L << 20;

    private const long IrVersion = 10;

    private static readonly HashSet<(string, string)> KnownContribOps =
    [
        ("com.microsoft", "FusedMatMul"), ("com.microsoft", "QuickGelu"), ("com.microsoft", "InPlaceAccumulatorV2"),
    ];

    /// <summary>Brings an eval or training model to the versions the runtime accepts.</summary>
    /// <exception cref="UnsupportedGraphException">It holds an operator that the runtime does not have.</exception>
    public static void Restrict(Model model)
    {
        if (model.Graph.Nodes.FirstOrDefault(n => n.Domain.Length > 0 && !KnownContribOps.Contains((n.Domain, n.OpType))) is { } foreign)
            throw new UnsupportedGraphException($"node '{foreign.Name}' is {foreign.Domain}::{foreign.OpType}, which the official training runtime "
                + "(ONNX Runtime 1.19.2) may not have; build with --format ort");
        model.IrVersion = Math.Min(model.IrVersion, IrVersion);
    }

    /// <summary>Writes optimizer_model.onnx and checkpoint.</summary>
    /// <param name="folder">Holds parameters.safetensors already.</param>
    /// <param name="parameters">The trained parameters.</param>
    /// <param name="options">What the optimizer fixes.</param>
    public static void Write(StagedFolder folder, IReadOnlyList<TrainedParameter> parameters, OfficialOptimizerOptions options)
    {
        using (var optimizer = OfficialOptimizer.Build(options, parameters.Count(p => p.Orthonormal != Artifacts.Orthonormality.None)))
            folder.Write(ArtifactFiles.OptimizerModel, OnnxWriter.ToBytes(optimizer));
        using var values = SafetensorsReader.Open(Path.Combine(folder.Path, ArtifactFiles.Parameters));
        using var stream = folder.Create(ArtifactFiles.OrtCheckpoint);
        OrtCheckpointWriter.Write(stream, parameters, ParameterFile.View(values, parameters));
        stream.Complete();
    }
}
