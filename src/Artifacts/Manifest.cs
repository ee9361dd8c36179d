using System.Text.Json;
using System.Text.Json.Serialization;

namespace SorsaOrt.Artifacts;

/// <summary>What an artifact folder holds and where it came from.</summary>
public sealed record Manifest
{
    /// <summary>The version this program writes and reads.</summary>
    public const int CurrentVersion = 1;

    /// <summary>Version of the folder's format.</summary>
    [JsonRequired]
    public int FormatVersion { get; init; } = CurrentVersion;

    /// <summary>Program and version that made the folder, such as "sorsa 0.1.0".</summary>
    [JsonRequired]
    public string Producer { get; init; } = "";

    /// <summary>The user's model.</summary>
    [JsonRequired]
    public SourceModel Source { get; init; } = new();

    /// <summary>What is trained.</summary>
    [JsonRequired]
    public TrainingMethod Method { get; init; }

    /// <summary>Adapter rank asked for; 0 for full fine-tuning.</summary>
    [JsonRequired]
    public int Rank { get; init; }

    /// <summary>The α asked for; scale = α / rank. Null where it was left to the method.</summary>
    public double? Alpha { get; init; }

    /// <summary>Share of an adapter's inputs that training drops; null: none.</summary>
    public double? Dropout { get; init; }

    /// <summary>Seed of the build.</summary>
    [JsonRequired]
    public long Seed { get; init; }

    /// <summary>How the factors were found; null where no decomposition was made.</summary>
    public SvdSettings? Svd { get; init; }

    /// <summary>A <see cref="ResidualType"/>: weights that arrived quantised stay frozen as they are, residuals of the others are f32.</summary>
    public const string StoredResidual = "stored";

    /// <summary>Element type the residual weights are stored in: f32, f16, bf16, i8, i4; or <see cref="StoredResidual"/>.</summary>
    [JsonRequired]
    public string ResidualType { get; init; } = "";

    /// <summary>Element type that the products with frozen weights and of attention compute in: f16 or bf16; null: f32.</summary>
    public string? ComputeType { get; init; }

    /// <summary>What the backward pass computes again.</summary>
    public Recomputation Recompute { get; init; }

    /// <summary>Names of the graph's token id inputs.</summary>
    [JsonRequired]
    public IReadOnlyList<string> TokenInputs { get; init; } = [];

    /// <summary>Whether attention_mask may hold segment numbers, so that samples share a row and do not see each other.</summary>
    public bool TakesSegments { get; init; }

    /// <summary>Words in the vocabulary.</summary>
    [JsonRequired]
    public int VocabularySize { get; init; }

    /// <summary>Most positions the model takes, where known.</summary>
    public int? MaxPositions { get; init; }

    /// <summary>Width of the hidden states.</summary>
    [JsonRequired]
    public int HiddenSize { get; init; }

    /// <summary>Number of transformer blocks.</summary>
    [JsonRequired]
    public int Layers { get; init; }

    /// <summary>The Linears that are adapted or trained.</summary>
    [JsonRequired]
    public IReadOnlyList<TargetWeight> Targets { get; init; } = [];

    /// <summary>The trainable parameters in the order of the flat buffer.</summary>
    [JsonRequired]
    public IReadOnlyList<TrainedParameter> Parameters { get; init; } = [];

    /// <summary>Elements of the flat buffer that holds all parameters.</summary>
    [JsonRequired]
    public long ParameterCount { get; init; }

    /// <summary>How the source file stored its external initializers, so that merge can write them back the same way.</summary>
    [JsonRequired]
    public IReadOnlyList<ExternalTensorPlace> ExternalTensors { get; init; } = [];

    /// <summary>Further facts by name, for single tools.</summary>
    [JsonRequired]
    public IReadOnlyDictionary<string, JsonElement> Extensions { get; init; } = new Dictionary<string, JsonElement>();

    /// <summary>Every other file of the folder.</summary>
    [JsonRequired]
    public IReadOnlyList<FileEntry> Files { get; init; } = [];
}

/// <summary>What is trained.</summary>
[JsonConverter(typeof(StrictEnumConverter<TrainingMethod>))]
public enum TrainingMethod
{
    /// <summary>SORSA: top-r singular vectors and values with the orthonormality term.</summary>
    [JsonStringEnumMemberName("sorsa")]
    Sorsa,
    /// <summary>PiSSA: top-r singular vectors, singular values folded into both.</summary>
    [JsonStringEnumMemberName("pissa")]
    Pissa,
    /// <summary>LoRA: A random, B zero.</summary>
    [JsonStringEnumMemberName("lora")]
    Lora,
    /// <summary>The target weights themselves.</summary>
    [JsonStringEnumMemberName("full")]
    Full,
}

/// <summary>What the backward pass of the training graph computes again instead of keeping it.</summary>
[JsonConverter(typeof(StrictEnumConverter<Recomputation>))]
public enum Recomputation
{
    /// <summary>Nothing.</summary>
    [JsonStringEnumMemberName("none")]
    None,
    /// <summary>The inside of every layer.</summary>
    [JsonStringEnumMemberName("layer")]
    Layer,
}

/// <summary>Which factor of y = x·Wrᵀ + scale·((x·Aᵀ)∘S)·Bᵀ a parameter is.</summary>
[JsonConverter(typeof(StrictEnumConverter<ParameterPart>))]
public enum ParameterPart
{
    /// <summary>A [r, in].</summary>
    [JsonStringEnumMemberName("A")]
    A,
    /// <summary>S [r].</summary>
    [JsonStringEnumMemberName("S")]
    S,
    /// <summary>B [out, r].</summary>
    [JsonStringEnumMemberName("B")]
    B,
    /// <summary>A whole weight.</summary>
    [JsonStringEnumMemberName("weight")]
    Weight,
}

/// <summary>Which vectors of a parameter the regulariser holds orthonormal.</summary>
[JsonConverter(typeof(StrictEnumConverter<Orthonormality>))]
public enum Orthonormality
{
    /// <summary>None.</summary>
    [JsonStringEnumMemberName("none")]
    None,
    /// <summary>The rows: A·Aᵀ = I.</summary>
    [JsonStringEnumMemberName("rows")]
    Rows,
    /// <summary>The columns: Bᵀ·B = I.</summary>
    [JsonStringEnumMemberName("columns")]
    Columns,
}
