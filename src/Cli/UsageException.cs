namespace SorsaOrt.Cli;

/// <summary>A command line that cannot be carried out as it stands: exit code 2.</summary>
internal sealed class UsageException : Exception
{
    public UsageException(string message) : base(message) { }

    public UsageException(string message, Exception innerException) : base(message, innerException) { }

    public UsageException() { }
}
