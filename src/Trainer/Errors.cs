namespace SorsaOrt.Trainer;

/// <summary>Options that do not make sense, alone or together: bad usage.</summary>
public sealed class ConfigException : Exception
{
    /// <summary>With every complaint.</summary>
    public ConfigException(string message) : base(message) { }

    /// <summary>With its cause.</summary>
    public ConfigException(string message, Exception innerException) : base(message, innerException) { }

    /// <summary>Without details.</summary>
    public ConfigException() { }
}

/// <summary>A run whose loss or gradient is no longer finite.</summary>
public sealed class TrainingDivergedException : Exception
{
    /// <summary>With the step, the rows and the last good checkpoint.</summary>
    public TrainingDivergedException(string message) : base(message) { }

    /// <summary>With its cause.</summary>
    public TrainingDivergedException(string message, Exception innerException) : base(message, innerException) { }

    /// <summary>Without details.</summary>
    public TrainingDivergedException() { }
}

/// <summary>Another rank of a run in several processes failed; it says why, this one only ends.</summary>
public sealed class OtherRankFailedException : Exception
{
    /// <summary>With the ranks.</summary>
    public OtherRankFailedException(string message) : base(message) { }

    /// <summary>With its cause.</summary>
    public OtherRankFailedException(string message, Exception innerException) : base(message, innerException) { }

    /// <summary>Without details.</summary>
    public OtherRankFailedException() { }
}
