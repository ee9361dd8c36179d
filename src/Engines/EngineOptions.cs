using SorsaOrt.Artifacts;

namespace SorsaOrt.Engines;

/// <summary>How an engine opens its sessions.</summary>
public sealed record EngineOptions
{
    /// <summary>Where sessions run; see <see cref="Engines.Device.Parse(string)"/>.</summary>
    public Device Device { get; init; } = Device.Cpu;

    /// <summary>Threads of a session, at least 1; 0 lets ONNX Runtime take one per physical core. Results are the same bits for the same number only.</summary>
    public int Threads { get; init; }

    /// <summary>Whether gradients, moments and the training sessions are wanted; false for evaluation alone, which then takes a fourth of the memory.</summary>
    public bool Training { get; init; } = true;

    /// <summary>
    /// Whether ONNX Runtime keeps a packed copy of each frozen weight for each product that reads it, forward and backward: faster products, and about
    /// twice the weights in memory. A weight that embeddings are looked up in too stays as it is. Results are the same bits for the same choice only.
    /// </summary>
    public bool PackWeights { get; init; }

    /// <summary>
    /// Whether CUDA multiplies the training model's float32 matrices in TF32, which keeps 10 bits of the mantissa and is several times as fast. The regulariser
    /// and AdamW stay in float32: 10 bits are too few for A·Aᵀ − I.
    /// </summary>
    public bool Tf32 { get; init; }

    /// <summary>Whether weights are packed where nobody says: <see cref="WeightPacking"/>.</summary>
    public static bool PacksByDefault(ArtifactSet artifacts)
    {
        ArgumentNullException.ThrowIfNull(artifacts);
        var frozen = artifacts.Has(ArtifactFiles.FrozenData) ? new FileInfo(artifacts.PathOf(ArtifactFiles.FrozenData)).Length : 0;
        // Recomputing layers is to save memory, and a weight of 16 bits would be widened and then packed for each product of the layer, the one made again too.
        return (artifacts.Manifest.Recompute == Recomputation.None || artifacts.Manifest.ResidualType is not ("f16" or "bf16")) && WeightPacking.IsDefault(frozen);
    }

    /// <summary>Where ONNX Runtime writes a profile of the training model's runs: the beginning of a path; null for none.</summary>
    public string? ProfilePrefix { get; init; }
}
