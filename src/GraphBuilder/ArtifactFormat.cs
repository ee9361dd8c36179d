namespace SorsaOrt.GraphBuilder;

/// <summary>Whose training artifacts are built.</summary>
public enum ArtifactFormat
{
    /// <summary>For plain ONNX Runtime sessions.</summary>
    Ort,
    /// <summary>For the official on-device training runtime.</summary>
    OrtTraining,
    /// <summary>For both, from one training_model.onnx.</summary>
    Both,
}
