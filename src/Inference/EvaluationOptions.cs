using SorsaOrt.Data;

namespace SorsaOrt.Inference;

/// <summary>How much is evaluated, and in what portions.</summary>
public sealed record EvaluationOptions
{
    /// <summary>Most rows that run together, at least 1.</summary>
    public int BatchSize { get; init; } = 16;

    /// <summary>Only the first rows of the file; null: all.</summary>
    public int? Limit { get; init; }

    /// <summary>Tokens that a row is cut to as in training, at least 2; for the loss.</summary>
    public int MaxLength { get; init; } = int.MaxValue;

    /// <summary>Most tokens of an answer, at least 1; for exact match.</summary>
    public int MaxTokens { get; init; } = 256;

    /// <summary>Rows that are sorted by length together before they are cut into batches.</summary>
    internal int WindowRows => checked(BatchSize * 4);

    internal void Check()
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(BatchSize, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(MaxTokens, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(MaxLength, 2);
        ArgumentOutOfRangeException.ThrowIfLessThan(Limit ?? 1, 1, nameof(Limit));
    }
}

/// <summary>Rows left out of an evaluation, and why the first one was.</summary>
/// <param name="Count">How many.</param>
/// <param name="First">Line and reason of the first; null where there is none.</param>
public readonly record struct Refusals(int Count, string? First)
{
    internal Refusals And(int line, string reason) => new(Count + 1, First ?? $"line {line}: {reason}");

    internal DataFormatException AllOf(RowFile file) =>
        new(file.FilePath, $"none of its {Count} rows can be evaluated; {First}", "Give rows of a question and its answer that fit the model.");
}
