using SorsaOrt.Adapters;
using SorsaOrt.Artifacts;
using SorsaOrt.Data;
using SorsaOrt.Engines;
using SorsaOrt.GraphBuilder;
using SorsaOrt.Ir;
using SorsaOrt.Trainer;

namespace SorsaOrt.Cli;

/// <summary>Turns every exception into one paragraph and an exit code.</summary>
internal static class Failure
{
    /// <summary>Prints what went wrong to stderr; the trace only when asked for.</summary>
    /// <param name="terminal">Where to.</param>
    /// <param name="exception">What went wrong.</param>
    /// <param name="subject">File that is named where the message names none.</param>
    /// <param name="verbose">Whether the trace is wanted.</param>
    public static int Report(Terminal terminal, Exception exception, string? subject, bool verbose)
    {
        var cause = exception is AggregateException { InnerExceptions.Count: > 0 } many ? many.InnerExceptions[0] : exception;
        var unexpected = IsUnexpected(cause);
        terminal.Note("sorsa: " + Printable.Text(unexpected
            ? $"something went wrong that should not have ({cause.GetType().Name}: {cause.Message}); run again with --verbose and report it"
            : IsAboutAnother(cause) || NamesFile(cause.Message, subject) ? cause.Message : $"'{subject}': {cause.Message}"));
        if (verbose)
            terminal.Note(exception.ToString());
        return CodeOf(cause);
    }

    // Errors of outputs and options are not about the file that the verb reads.
    private static bool IsAboutAnother(Exception e) => e is OutputExistsException or UsageException
        || e is IOException or UnauthorizedAccessException && e.Message.Contains('\'', StringComparison.Ordinal); // It names a path.

    private static bool NamesFile(string message, string? subject) =>
        subject is null || message.Contains(Path.GetFileName(Path.TrimEndingDirectorySeparator(subject)), StringComparison.Ordinal);

    private static bool IsUnexpected(Exception e) => e is not (UsageException or ModelFormatException or UnsupportedGraphException or TargetException
        or ArtifactMismatchException or SafetensorsFormatException or OutputExistsException or DataFormatException or ConfigException
        or DecompositionException or EngineException or TrainingDivergedException or InvalidDataException or IOException or UnauthorizedAccessException or OutOfMemoryException);

    private static int CodeOf(Exception e) => e switch
    {
        UsageException or ModelFormatException or UnsupportedGraphException or TargetException or ArtifactMismatchException
            or SafetensorsFormatException or OutputExistsException or DataFormatException or ConfigException or DecompositionException or InvalidDataException => ExitCode.BadInput,
        EngineException { IsModelRefused: true } => ExitCode.BadInput,
        FileNotFoundException or DirectoryNotFoundException or UnauthorizedAccessException => ExitCode.BadInput,
        _ => ExitCode.Failed,
    };
}
