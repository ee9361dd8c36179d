namespace SorsaOrt.Engines;

/// <summary>The tokens of one run: B sequences of S tokens, and the places whose next token is of interest.</summary>
public readonly ref struct TokenBatch
{
    /// <summary>Sequences B.</summary>
    public required int BatchSize { get; init; }

    /// <summary>Tokens S of each.</summary>
    public required int SequenceLength { get; init; }

    /// <summary>Token ids [B, S].</summary>
    public required ReadOnlySpan<long> InputIds { get; init; }

    /// <summary>1 for a token, 0 for padding [B, S]; empty: no padding.</summary>
    public ReadOnlySpan<long> AttentionMask { get; init; }

    /// <summary>Positions [B, S]; empty: 0 … S − 1 in every sequence.</summary>
    public ReadOnlySpan<long> PositionIds { get; init; }

    /// <summary>Places b·S + t whose logits are wanted [N].</summary>
    public required ReadOnlySpan<long> LabelPositions { get; init; }

    /// <summary>The token to be predicted at each place [N]; empty where only logits are wanted.</summary>
    public ReadOnlySpan<long> LabelIds { get; init; }

    /// <summary>Decides what dropout drops, where the artifacts were built with it: the same for the same number.</summary>
    public ulong DropoutSeed { get; init; }
}

/// <summary>Loss of one run. Sum and count travel together: means over steps mislead.</summary>
/// <param name="LossSum">Sum of the cross entropy over the labels, in nats.</param>
/// <param name="LabelTokens">Labels N.</param>
public readonly record struct StepResult(double LossSum, long LabelTokens)
{
    /// <summary>Mean cross entropy over the labels.</summary>
    public double Mean => LossSum / LabelTokens;
}
