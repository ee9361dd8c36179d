namespace SorsaOrt.Merge.LoraDelta;

/// <summary>For whom an adapter is written.</summary>
public enum AdapterFormat
{
    /// <summary>A folder for Hugging Face PEFT: adapter_config.json and adapter_model.safetensors.</summary>
    Peft,
    /// <summary>An .onnx_adapter file for ONNX Runtime, and the model that takes it.</summary>
    OnnxAdapter,
    /// <summary>MODULE.A, MODULE.S and MODULE.B in one safetensors file.</summary>
    Safetensors,
}
