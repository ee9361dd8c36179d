namespace SorsaOrt.Inference;

/// <summary>B texts that grow by one token each at a time.</summary>
public abstract class Continuation : IDisposable
{
    private protected Continuation() { }

    /// <summary>Texts B.</summary>
    public abstract int Rows { get; }

    /// <summary>Logits of each text's next token [B, vocabulary]; they hold until the next call.</summary>
    public abstract ReadOnlySpan<float> Logits { get; }

    /// <summary>Adds a token to every text and computes the next logits.</summary>
    /// <param name="tokens">One token per text [B].</param>
    public abstract void Append(ReadOnlySpan<int> tokens);

    /// <summary>Drops all texts but these (ascending row numbers), which become rows 0, 1, …; false where that cannot be done here, and nothing changed.</summary>
    /// <remarks>The logits do not hold afterwards: <see cref="Append"/> first.</remarks>
    public abstract bool Keep(ReadOnlySpan<int> rows);

    /// <inheritdoc/>
    public abstract void Dispose();
}
