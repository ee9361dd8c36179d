using SorsaOrt.Data;
using SorsaOrt.Engines;
using SorsaOrt.Ir;

namespace SorsaOrt.Inference;

/// <summary>A causal language model that runs: tokens in, logits or loss out. One call at a time.</summary>
public abstract class LanguageModel : IDisposable
{
    /// <summary>Most bytes of float logits that one run may give, where the graph computes them at every place.</summary>
    private const long MostLogitBytes = 256L << 20;

    private protected LanguageModel() { }

    /// <summary>File or folder, for messages.</summary>
    public abstract string Name { get; }

    /// <summary>Tokens it knows; ids are 0 to this less 1.</summary>
    public abstract int VocabularySize { get; }

    /// <summary>Most positions it was made for, where known.</summary>
    public abstract int? MaxPositions { get; }

    /// <summary>Whether texts of different lengths can be continued together; if not, a batch holds prompts of one length.</summary>
    public abstract bool MixesLengths { get; }

    /// <summary>Logits [N, <see cref="VocabularySize"/>] at the N places of <see cref="TokenBatch.LabelPositions"/>; they hold until the next call.</summary>
    public abstract ReadOnlySpan<float> Logits(in TokenBatch batch);

    /// <summary>Cross entropy of <see cref="TokenBatch.LabelIds"/> at <see cref="TokenBatch.LabelPositions"/>: its sum, in nats, and their number.</summary>
    public abstract StepResult Loss(in TokenBatch batch);

    /// <summary>Begins to continue prompts: runs them, and gives the logits of each one's next token.</summary>
    /// <param name="prompts">At least one, each of at least one token; of one length unless <see cref="MixesLengths"/>.</param>
    public Continuation Continue(IReadOnlyList<int[]> prompts)
    {
        ArgumentNullException.ThrowIfNull(prompts);
        ArgumentOutOfRangeException.ThrowIfZero(prompts.Count, nameof(prompts));
        for (int row = 0; row < prompts.Count; row++)
        {
            if (prompts[row].Length == 0)
                throw new ArgumentException($"Prompt {row} has no token.", nameof(prompts));
            CheckIds(prompts[row], row);
            if (MaxPositions is { } most && prompts[row].Length > most)
                throw new UnsupportedGraphException($"Prompt {row} has {prompts[row].Length} tokens, but {Name} takes {most} positions. Shorten it.");
        }
        return Begin(prompts);
    }

    /// <summary>Rows of a batch whose logits at all places, computed together, take no more than 256 MiB; at least 1.</summary>
    public virtual int MostRows(int sequenceLength) =>
        (int)Math.Clamp(MostLogitBytes / (sizeof(float) * (long)VocabularySize * sequenceLength), 1, int.MaxValue);

    /// <summary>Refuses a tokenizer with more tokens than the model knows.</summary>
    /// <exception cref="DataFormatException">It belongs to another model.</exception>
    public void Check(Tokenizer tokenizer)
    {
        ArgumentNullException.ThrowIfNull(tokenizer);
        if (tokenizer.VocabularySize > VocabularySize)
        {
            throw new DataFormatException($"The tokenizer has {tokenizer.VocabularySize} tokens, but {Name} only {VocabularySize}: "
                + "ids beyond them could not be read. Use the tokenizer that came with the model.");
        }
    }

    /// <inheritdoc/>
    public abstract void Dispose();

    private protected abstract Continuation Begin(IReadOnlyList<int[]> prompts);

    /// <summary>Refuses ids outside the vocabulary, which a graph would read from foreign memory or fail on without a place.</summary>
    private protected void CheckIds(ReadOnlySpan<long> ids)
    {
        int bad = ids.IndexOfAnyExceptInRange(0, VocabularySize - 1);
        if (bad >= 0)
            throw OutOfVocabulary(ids[bad], $"place {bad}");
    }

    private void CheckIds(ReadOnlySpan<int> ids, int row)
    {
        int bad = ids.IndexOfAnyExceptInRange(0, VocabularySize - 1);
        if (bad >= 0)
            throw OutOfVocabulary(ids[bad], $"token {bad} of prompt {row}");
    }

    private DataFormatException OutOfVocabulary(long id, string place) =>
        new($"Id {id} at {place} is outside the vocabulary of {Name} (0 to {VocabularySize - 1}). Use the tokenizer that came with the model.");
}
