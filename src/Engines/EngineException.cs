namespace SorsaOrt.Engines;

/// <summary>An engine that cannot do what was asked: a missing provider, a refused model, a failed run.</summary>
public sealed class EngineException : Exception
{
    /// <summary>With what failed, where, and what to do.</summary>
    public EngineException(string message) : base(message) { }

    /// <summary>With its cause.</summary>
    public EngineException(string message, Exception innerException) : base(message, innerException) { }

    /// <summary>Without details.</summary>
    public EngineException() { }

    /// <summary>True where ONNX Runtime would not load a model: the file is at fault, not the work.</summary>
    public bool IsModelRefused { get; init; }
}
