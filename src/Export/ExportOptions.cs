using SorsaOrt.Ir;

namespace SorsaOrt.Export;

/// <summary>What <c>sorsa export</c> is asked for.</summary>
public sealed record ExportOptions
{
    /// <summary>A Hugging Face folder (config.json and *.safetensors) or a GGUF file.</summary>
    public required string Source { get; init; }

    /// <summary>Path of the model to write.</summary>
    public required string OutputPath { get; init; }

    /// <summary>How matrices are stored: float32, float16 or bfloat16. All compute in float32, which every ONNX Runtime has kernels for.</summary>
    public ElementType WeightType { get; init; } = ElementType.Float32;

    /// <summary>Add past_key_values inputs and present outputs, for generation.</summary>
    public bool KeyValueCache { get; init; }

    /// <summary>Replace existing files.</summary>
    public bool Force { get; init; }
}

/// <summary>What was exported.</summary>
/// <param name="Architecture">Llama, Mistral, Qwen2 or Qwen3.</param>
/// <param name="Layers">Blocks.</param>
/// <param name="Parameters">Weights stored in the file.</param>
/// <param name="Bytes">Size of all files.</param>
/// <param name="Files">Their paths, the model first.</param>
public sealed record ExportReport(string Architecture, int Layers, long Parameters, long Bytes, IReadOnlyList<string> Files);
