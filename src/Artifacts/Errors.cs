namespace SorsaOrt.Artifacts;

/// <summary>An artifact folder or checkpoint that is damaged, incomplete, of another version, or belongs to something else.</summary>
public sealed class ArtifactMismatchException : Exception
{
    /// <summary>With the file, what is wrong with it and what to do.</summary>
    public ArtifactMismatchException(string file, string message) : base(message) => File = file;

    /// <summary>With the file, what is wrong, what to do, and the cause.</summary>
    public ArtifactMismatchException(string file, string message, Exception innerException) : base(message, innerException) => File = file;

    /// <summary>With what is wrong.</summary>
    public ArtifactMismatchException(string message) : base(message) { }

    /// <summary>With its cause.</summary>
    public ArtifactMismatchException(string message, Exception innerException) : base(message, innerException) { }

    /// <summary>Without details.</summary>
    public ArtifactMismatchException() { }

    /// <summary>Path of the file at fault.</summary>
    public string? File { get; }

    /// <summary>True for a sound checkpoint of other artifacts, which no older checkpoint can stand in for.</summary>
    public bool BelongsElsewhere { get; init; }
}

/// <summary>A safetensors file that breaks its format.</summary>
public sealed class SafetensorsFormatException : Exception
{
    /// <summary>With the file, the tensor (or null where no single one is at fault) and what is wrong.</summary>
    public SafetensorsFormatException(string file, string? tensor, string message) : base(message)
    {
        File = file;
        Tensor = tensor;
    }

    /// <summary>With what is wrong.</summary>
    public SafetensorsFormatException(string message) : base(message) { }

    /// <summary>With its cause.</summary>
    public SafetensorsFormatException(string message, Exception innerException) : base(message, innerException) { }

    /// <summary>Without details.</summary>
    public SafetensorsFormatException() { }

    /// <summary>Path of the file.</summary>
    public string? File { get; }

    /// <summary>Name of the tensor at fault.</summary>
    public string? Tensor { get; }
}

/// <summary>Something stands where an output is to go: an earlier output, replaced only with <c>--force</c>, or what is never replaced.</summary>
public sealed class OutputExistsException : Exception
{
    /// <summary>With a message.</summary>
    public OutputExistsException(string message) : base(message) { }

    /// <summary>With a message and a cause.</summary>
    public OutputExistsException(string message, Exception innerException) : base(message, innerException) { }

    /// <summary>Without details.</summary>
    public OutputExistsException() { }

    /// <summary>The output that exists.</summary>
    public string? Path { get; private init; }

    /// <summary>For the output at <paramref name="path"/>.</summary>
    public static OutputExistsException At(string path) =>
        new($"{Text.Quote(path)} exists already; choose another output or give --force to replace it.") { Path = path };
}
