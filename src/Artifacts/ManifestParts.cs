using System.Text.Json.Serialization;

namespace SorsaOrt.Artifacts;

/// <summary>The user's model, as it was when the artifacts were built.</summary>
public sealed record SourceModel
{
    /// <summary>File name without folder.</summary>
    [JsonRequired]
    public string FileName { get; init; } = "";

    /// <summary>Size in bytes.</summary>
    [JsonRequired]
    public long Size { get; init; }

    /// <summary>SHA-256, 64 lower-case hex digits.</summary>
    [JsonRequired]
    public string Sha256 { get; init; } = "";

    /// <summary>Its external data files.</summary>
    [JsonRequired]
    public IReadOnlyList<SourceDataFile> ExternalFiles { get; init; } = [];

    /// <summary>Export family that was recognised.</summary>
    [JsonRequired]
    public string Family { get; init; } = "";

    /// <summary>The model's own producer_name.</summary>
    [JsonRequired]
    public string ProducerName { get; init; } = "";

    /// <summary>The model's own producer_version.</summary>
    [JsonRequired]
    public string ProducerVersion { get; init; } = "";

    /// <summary>Version of the default operator set.</summary>
    [JsonRequired]
    public int Opset { get; init; }
}

/// <summary>An external data file of the user's model.</summary>
public sealed record SourceDataFile
{
    /// <summary>Path beside the model, as the model gives it.</summary>
    [JsonRequired]
    public string Path { get; init; } = "";

    /// <summary>Size in bytes.</summary>
    [JsonRequired]
    public long Size { get; init; }

    /// <summary>SHA-256 where it was computed.</summary>
    public string? Sha256 { get; init; }
}

/// <summary>How singular vectors were found.</summary>
public sealed record SvdSettings
{
    /// <summary>exact, randomized, or given (from a factors file).</summary>
    [JsonRequired]
    public string Method { get; init; } = "";

    /// <summary>Power iterations of the randomised method.</summary>
    [JsonRequired]
    public int Iterations { get; init; }

    /// <summary>The linear algebra library used.</summary>
    [JsonRequired]
    public string Library { get; init; } = "";
}

/// <summary>A Linear that is adapted or trained, and where its weight lives in the user's model.</summary>
public sealed record TargetWeight
{
    /// <summary>Module path, such as "model.layers.0.self_attn.q_proj".</summary>
    [JsonRequired]
    public string Module { get; init; } = "";

    /// <summary>Role, such as "q_proj".</summary>
    [JsonRequired]
    public string Role { get; init; } = "";

    /// <summary>Initializer in the user's model.</summary>
    [JsonRequired]
    public string WeightName { get; init; } = "";

    /// <summary>True where the initializer is stored [in, out]; false for [out, in].</summary>
    [JsonRequired]
    public bool Transposed { get; init; }

    /// <summary>Element type of the initializer: f32, f16, bf16, …</summary>
    [JsonRequired]
    public string ElementType { get; init; } = "";

    /// <summary>Width of the input.</summary>
    [JsonRequired]
    public long In { get; init; }

    /// <summary>Width of the output.</summary>
    [JsonRequired]
    public long Out { get; init; }

    /// <summary>First output within the initializer where this target is a slice of a packed one (QKV, gate-up); null for the whole.</summary>
    public long? SliceStart { get; init; }

    /// <summary>Rank of the adapter; 0 for full fine-tuning.</summary>
    [JsonRequired]
    public int Rank { get; init; }

    /// <summary>Factor on the adapter's product.</summary>
    [JsonRequired]
    public double Scale { get; init; }

    /// <summary>Initializer of the residual weight in the training graph; for full fine-tuning the parameter.</summary>
    [JsonRequired]
    public string ResidualName { get; init; } = "";

    /// <summary>True where the weight arrived quantised and stays frozen as it is: the graphs subtract scale·B₀·diag(S₀)·A₀ of the start beside it (LoRA: nothing).</summary>
    public bool? StaysStored { get; init; }

    /// <summary>|Wr − Wr'| / |Wr| of a quantised residual; null where it is stored as floats.</summary>
    public double? ResidualLoss { get; init; }

    /// <summary>|Wr − Wr'| / |W| of a quantised residual; null where it is stored as floats.</summary>
    public double? WeightLoss { get; init; }

    /// <summary>Initializer of the bias, where there is one.</summary>
    public string? BiasName { get; init; }
}

/// <summary>A trainable parameter and its place in the flat buffer.</summary>
public sealed record TrainedParameter
{
    /// <summary>Name in the graphs and in safetensors files.</summary>
    [JsonRequired]
    public string Name { get; init; } = "";

    /// <summary>The target it belongs to.</summary>
    [JsonRequired]
    public string Module { get; init; } = "";

    /// <summary>Which factor it is.</summary>
    [JsonRequired]
    public ParameterPart Part { get; init; }

    /// <summary>Dimensions, row-major.</summary>
    [JsonRequired]
    public IReadOnlyList<long> Shape { get; init; } = [];

    /// <summary>First element in the flat buffer.</summary>
    [JsonRequired]
    public long Offset { get; init; }

    /// <summary>Which of its vectors the regulariser holds orthonormal.</summary>
    [JsonRequired]
    public Orthonormality Orthonormal { get; init; }

    /// <summary>Number of elements; the product is checked.</summary>
    [JsonIgnore]
    public long ElementCount => Shape.Aggregate(1L, (product, dimension) => checked(product * dimension));
}

/// <summary>How the user's model stores one external initializer.</summary>
public sealed record ExternalTensorPlace
{
    /// <summary>Initializer.</summary>
    [JsonRequired]
    public string Name { get; init; } = "";

    /// <summary>Data file beside the model.</summary>
    [JsonRequired]
    public string Location { get; init; } = "";

    /// <summary>First byte, where the model says it.</summary>
    public long? Offset { get; init; }

    /// <summary>Bytes, where the model says it.</summary>
    public long? Length { get; init; }

    /// <summary>Other external_data entries, key to value.</summary>
    public IReadOnlyDictionary<string, string>? Others { get; init; }
}
