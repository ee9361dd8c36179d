using SorsaOrt.Engines;

namespace SorsaOrt.Benchmarks;

/// <summary>A batch of random tokens without padding, whose last tokens of each row are labels; the same for the same options.</summary>
internal sealed class RandomTokens
{
    private readonly int _batchSize, _length;
    private readonly long[] _ids;

    private RandomTokens(int batchSize, int length, long[] ids, long[] labelPositions, long[] labelIds) =>
        (_batchSize, _length, _ids, LabelPositions, LabelIds) = (batchSize, length, ids, labelPositions, labelIds);

    /// <summary>Tokens.</summary>
    public int Count => _ids.Length;

    /// <summary>Flat places that predict a label.</summary>
    public long[] LabelPositions { get; }

    /// <summary>The labels.</summary>
    public long[] LabelIds { get; }

    /// <summary>As the engine takes it.</summary>
    public TokenBatch Batch => new()
    {
        BatchSize = _batchSize,
        SequenceLength = _length,
        InputIds = _ids,
        LabelPositions = LabelPositions,
        LabelIds = LabelIds,
    };

    /// <summary>For a vocabulary.</summary>
    public static RandomTokens Of(StepOptions options, int vocabulary)
    {
        var random = new Random(17);
        var ids = new long[checked(options.BatchSize * options.Length)];
        for (var i = 0; i < ids.Length; i++)
            ids[i] = random.Next(vocabulary);
        var labels = Math.Clamp((int)Math.Round(options.LabelShare * options.Length), 1, Math.Max(1, options.Length - 1));
        var places = from row in Enumerable.Range(0, options.BatchSize)
                     from i in Enumerable.Range(options.Length - labels, labels)
                     select (long)row * options.Length + i - 1;
        long[] positions = [.. places];
        return new RandomTokens(options.BatchSize, options.Length, ids, positions, [.. positions.Select(p => ids[p + 1])]);
    }
}
