namespace SorsaOrt.Inference;

/// <summary>How texts are continued.</summary>
public sealed record DecodingOptions
{
    /// <summary>Most tokens of an answer, at least 1.</summary>
    public int MaxTokens { get; init; } = 256;

    /// <summary>Tokens that end an answer, such as EOS.</summary>
    public IReadOnlyList<int> StopIds { get; init; } = [];

    /// <summary>Texts that end an answer and are no part of it; none is empty. For one text at a time (<see cref="TextGeneration"/>).</summary>
    public IReadOnlyList<string> StopTexts { get; init; } = [];

    /// <summary>Tokens that may be chosen: ids below this, for models with more logits than their tokenizer has tokens; 0: all.</summary>
    public int TokenCount { get; init; }

    /// <summary>Divides the logits before drawing; 0: the most likely token always (greedy), and neither TopP nor Seed matters.</summary>
    public float Temperature { get; init; }

    /// <summary>Draws only among the fewest most likely tokens whose probabilities reach this sum, above 0 to 1 (nucleus sampling, arXiv 1904.09751).</summary>
    public float TopP { get; init; } = 1;

    /// <summary>Seed of the draws: the same seed, prompt number and logits give the same tokens.</summary>
    public ulong Seed { get; init; }

    /// <summary>Most prompts that run together, at least 1.</summary>
    public int BatchSize { get; init; } = 16;

    internal void Check()
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(MaxTokens, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(BatchSize, 1);
        ArgumentOutOfRangeException.ThrowIfNegative(TokenCount);
        if (StopTexts.Any(string.IsNullOrEmpty))
            throw new ArgumentException("A text to stop at has no characters.", nameof(StopTexts));
        if (!(Temperature >= 0 && float.IsFinite(Temperature)))
            throw new ArgumentOutOfRangeException(nameof(Temperature), Temperature, "The temperature is a number of at least 0.");
        if (!(TopP is > 0 and <= 1))
            throw new ArgumentOutOfRangeException(nameof(TopP), TopP, "Top-p is above 0 and at most 1.");
    }
}

/// <summary>Why an answer ended.</summary>
public enum StopReason
{
    /// <summary>The model gave an end token.</summary>
    EndToken,
    /// <summary>It has as many tokens as asked for.</summary>
    MaxTokens,
    /// <summary>Prompt and answer fill the model's positions.</summary>
    MaxPositions,
    /// <summary>The text came to where it was to stop.</summary>
    StopText,
}

/// <summary>A prompt's continuation.</summary>
/// <param name="Tokens">Its tokens, without the one that ended it.</param>
/// <param name="Reason">Why it ended.</param>
public sealed record Completion(IReadOnlyList<int> Tokens, StopReason Reason);
