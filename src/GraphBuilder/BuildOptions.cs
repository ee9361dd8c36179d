using SorsaOrt.Adapters;
using SorsaOrt.Artifacts;
using SorsaOrt.Ir;

namespace SorsaOrt.GraphBuilder;

/// <summary>What <c>build-artifacts</c> is asked for.</summary>
public sealed record BuildOptions
{
    /// <summary>Path of the exported model.</summary>
    public required string ModelPath { get; init; }

    /// <summary>Folder for the artifacts.</summary>
    public required string OutputFolder { get; init; }

    /// <summary>What is trained.</summary>
    public AdapterMethod Method { get; init; } = AdapterMethod.Sorsa;

    /// <summary>Adapter rank r, 1 to min(in, out) of every target.</summary>
    public int Rank { get; init; } = 128;

    /// <summary>Scale of the adapter path is alpha / rank; 1 when null.</summary>
    public double? Alpha { get; init; }

    /// <summary>Targets as <see cref="TargetSelection.Select"/> reads them.</summary>
    public string Targets { get; init; } = TargetSelection.Default;

    /// <summary>How weights are decomposed.</summary>
    public SvdOptions Svd { get; init; } = new();

    /// <summary>Element type of the frozen residuals: f32, f16, bf16, or i8 or i4 in blocks along the input features; null: see <see cref="ResidualOf"/>.</summary>
    public ElementType? ResidualType { get; init; }

    /// <summary>Element type that the products with frozen weights and of attention compute in: f32, f16 or bf16. Adapters, norms, softmax and loss are f32 in any case.</summary>
    public ElementType ComputeType { get; init; } = ElementType.Float32;

    /// <summary>Safetensors files with starting factors.</summary>
    public IReadOnlyList<string> FactorFiles { get; init; } = [];

    /// <summary>Share of an adapter's inputs that training drops, from 0 to below 1.</summary>
    public double Dropout { get; init; }

    /// <summary>What the backward pass computes again.</summary>
    public Recomputation Recompute { get; init; }

    /// <summary>Whose artifacts.</summary>
    public ArtifactFormat Format { get; init; }

    /// <summary>What the official optimizer_model.onnx fixes.</summary>
    public OrtTraining.OfficialOptimizerOptions OfficialOptimizer { get; init; } = new();

    /// <summary>Seed of LoRA's A and of the randomised SVD.</summary>
    public long Seed { get; init; }

    /// <summary>Targets decomposed at the same time.</summary>
    public int Threads { get; init; } = Environment.ProcessorCount;

    /// <summary>Replace an existing folder.</summary>
    public bool Force { get; init; }

    /// <summary>Element type of a target's residual: the one asked for, else f32; null where the weight arrived quantised and stays frozen as it is stored.</summary>
    public ElementType? ResidualOf(LinearSite site) => ResidualType ?? (site.IsQuantized ? null : ElementType.Float32);

    /// <summary>Factor on the adapter path.</summary>
    public float Scale => Alpha is { } alpha && Method != AdapterMethod.Full ? (float)(alpha / Rank) : 1;
}
