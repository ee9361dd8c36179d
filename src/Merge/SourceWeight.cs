using SorsaOrt.Artifacts;
using SorsaOrt.Ir;

namespace SorsaOrt.Merge;

/// <summary>A target's weight as the user's graph stores it, whole where it is packed; what is put in its place later does not change it.</summary>
/// <param name="Initializer">The initializer that holds it.</param>
/// <param name="Data">Its data.</param>
/// <param name="Quantized">How its integers are read; null for a weight of floats.</param>
internal sealed record SourceWeight(Value Initializer, Tensor Data, QuantizedWeight? Quantized)
{
    /// <summary>Dimensions of the matrix.</summary>
    public IReadOnlyList<long> Shape => Quantized?.Shape ?? Data.Shape;

    /// <summary>The weight of a target.</summary>
    /// <exception cref="ArtifactMismatchException">The graph has none.</exception>
    public static SourceWeight Of(Graph graph, TargetWeight target) => graph.FindInitializer(target.WeightName) is { Constant: { } data } weight
        ? new SourceWeight(weight, data, QuantizedWeight.Of(weight))
        : throw new ArtifactMismatchException($"source_model.onnx has no initializer '{target.WeightName}' for {target.Module}; build the artifacts again.");

    /// <summary>The weight as floats, in the layout of the file.</summary>
    public float[] ToFloat32() => Quantized?.Read().ToFloat32() ?? Data.ToFloat32()
        ?? throw new ArtifactMismatchException($"'{Initializer.Name}' is {Data}, which cannot be merged; build the artifacts again.");
}
