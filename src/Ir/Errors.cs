namespace SorsaOrt.Ir;

/// <summary>A model file that is broken, cut, dishonest about its sizes, or not ONNX at all.</summary>
public sealed class ModelFormatException : Exception
{
    /// <summary>With what is wrong and where.</summary>
    public ModelFormatException(string message) : base(message) { }

    /// <summary>With its cause.</summary>
    public ModelFormatException(string message, Exception innerException) : base(message, innerException) { }

    /// <summary>Without details.</summary>
    public ModelFormatException() { }
}

/// <summary>A well-formed model that holds something this product cannot work with.</summary>
public sealed class UnsupportedGraphException : Exception
{
    /// <summary>With what is not supported, where it stands and what to do.</summary>
    public UnsupportedGraphException(string message) : base(message) { }

    /// <summary>With its cause.</summary>
    public UnsupportedGraphException(string message, Exception innerException) : base(message, innerException) { }

    /// <summary>Without details.</summary>
    public UnsupportedGraphException() { }
}
