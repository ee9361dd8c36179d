namespace SorsaOrt.Artifacts;

/// <summary>Names of the files in an artifact folder.</summary>
public static class ArtifactFiles
{
    /// <summary>What the folder is: written last, read first.</summary>
    public const string Manifest = "manifest.json";
    /// <summary>Loss and gradients.</summary>
    public const string TrainingModel = "training_model.onnx";
    /// <summary>Loss alone.</summary>
    public const string EvalModel = "eval_model.onnx";
    /// <summary>AdamW: over the flat buffers, or over sequences where the folder holds the official training runtime's artifacts.</summary>
    public const string OptimizerModel = "optimizer_model.onnx";
    /// <summary>AdamW over the flat buffers where <see cref="OptimizerModel"/> is the official one.</summary>
    public const string FlatOptimizerModel = "flat_optimizer_model.onnx";
    /// <summary>The official training runtime's checkpoint: the trainable parameters as built.</summary>
    public const string OrtCheckpoint = "checkpoint";
    /// <summary>The orthonormality term of a matrix with orthonormal rows (A) and its gradient.</summary>
    public const string RegularizerOfRowsModel = "regularizer_rows_model.onnx";
    /// <summary>The orthonormality term of a matrix with orthonormal columns (B) and its gradient.</summary>
    public const string RegularizerOfColumnsModel = "regularizer_columns_model.onnx";
    /// <summary>The gradient norm.</summary>
    public const string NormModel = "norm_model.onnx";
    /// <summary>The user's model without its external data.</summary>
    public const string SourceModel = "source_model.onnx";
    /// <summary>Frozen weights: external data of the training and eval models.</summary>
    public const string FrozenData = "frozen.bin";
    /// <summary>The trainable parameters as built.</summary>
    public const string Parameters = "parameters.safetensors";
    /// <summary>All that such a folder may hold.</summary>
    public static IReadOnlyList<string> All { get; } =
    [
        Manifest, TrainingModel, EvalModel, OptimizerModel, FlatOptimizerModel, OrtCheckpoint, RegularizerOfRowsModel, RegularizerOfColumnsModel, NormModel, SourceModel, FrozenData, Parameters,
    ];
}
