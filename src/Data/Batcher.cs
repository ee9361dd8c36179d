namespace SorsaOrt.Data;

/// <summary>How rows become micro-batches.</summary>
public sealed record BatchOptions
{
    /// <summary>Rows of a micro-batch, at least 1.</summary>
    public int BatchSize { get; init; } = 2;

    /// <summary>Micro-batches of an optimizer step, at least 1.</summary>
    public int Accumulation { get; init; } = 64;

    /// <summary>Rows in an order drawn from (seed, epoch); false: file order.</summary>
    public bool Shuffle { get; init; } = true;

    /// <summary>Seed of the order.</summary>
    public ulong Seed { get; init; }

    /// <summary>Pads rows to a multiple of this many tokens (never beyond the maximum length), so that few shapes occur; 1: only to the longest row.</summary>
    public int PadToMultipleOf { get; init; } = 1;

    /// <summary>Samples that share a row, for each row (<see cref="Packing"/>); null: each has its own.</summary>
    public IReadOnlyList<int[]>? Packed { get; init; }

    /// <summary>Sorts so many neighbouring rows of an epoch's order by length before they are cut into micro-batches, so that little is padding; 0: none.</summary>
    /// <remarks>With the rows of one optimizer step (batch size times accumulation) the step's rows, and so its gradient, stay the same.</remarks>
    public int SortedRows { get; init; }
}

/// <summary>Micro-batches by number: micro-batch k is always the same, so a position is one number and resuming neither skips nor replays a row.</summary>
/// <remarks>
/// A row is a sample, or several that are packed together. An epoch has M = ⌈rows / batch size⌉ micro-batches, the last perhaps short; micro-batch k is number k mod M of epoch ⌊k / M⌋. Optimizer step s takes
/// micro-batches s·K … s·K + K − 1, so those left over at the end of an epoch flow into the first step of the next. Steps per epoch are ⌊M / K⌋, at
/// least 1; those left at the very end are dropped. Source: goldens/REFERENCE.md, training step.
/// </remarks>
public sealed class Batcher
{
    private readonly RowFile _file;
    private readonly RowEncoder _encoder;
    private readonly BatchOptions _options;
    private readonly int[] _order;
    private readonly int[]? _sizes;
    private readonly List<(EncodedRow Row, int Line)>[] _rows;
    private long _orderEpoch = -1;

    /// <summary>Micro-batches of a file's rows.</summary>
    public Batcher(RowFile file, RowEncoder encoder, BatchOptions options)
    {
        ArgumentNullException.ThrowIfNull(file);
        ArgumentNullException.ThrowIfNull(encoder);
        ArgumentNullException.ThrowIfNull(options);
        ArgumentOutOfRangeException.ThrowIfLessThan(options.BatchSize, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(options.Accumulation, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(options.PadToMultipleOf, 1);
        _file = file;
        _encoder = encoder;
        _options = options;
        ArgumentOutOfRangeException.ThrowIfNegative(options.SortedRows);
        _order = new int[options.Packed?.Count ?? file.Count];
        _rows = [.. Enumerable.Range(0, Math.Min(options.BatchSize, _order.Length)).Select(_ => new List<(EncodedRow, int)>())];
        if (options.SortedRows > 0)
            _sizes = [.. Enumerable.Range(0, _order.Length).Select(row => Samples(row).Sum(file.SizeOf))];
    }

    /// <summary>Micro-batches of an epoch, M.</summary>
    public long MicroBatchesPerEpoch => ((long)_order.Length + _options.BatchSize - 1) / _options.BatchSize;

    /// <summary>Optimizer steps of an epoch: ⌊M / accumulation⌋, at least 1.</summary>
    public long StepsPerEpoch => Math.Max(1, MicroBatchesPerEpoch / _options.Accumulation);

    /// <summary>Optimizer steps of so many epochs: ⌈epochs · steps per epoch⌉.</summary>
    public long TotalSteps(double epochs)
    {
        if (!(epochs > 0) || epochs * StepsPerEpoch > long.MaxValue / 2)
            throw new ArgumentOutOfRangeException(nameof(epochs), epochs, "The number of epochs must be above 0.");
        return (long)Math.Ceiling(epochs * StepsPerEpoch);
    }

    /// <summary>How many epochs lie before micro-batch <paramref name="index"/>, as a fraction.</summary>
    public double EpochAt(long index) => (double)index / MicroBatchesPerEpoch;

    /// <summary>Micro-batch <paramref name="index"/>, counted from the start of training.</summary>
    public Batch ReadMicroBatch(long index)
    {
        var batch = new Batch();
        ReadMicroBatch(index, batch);
        return batch;
    }

    /// <summary>Micro-batch <paramref name="index"/>, into buffers used before.</summary>
    public void ReadMicroBatch(long index, Batch batch)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(index);
        ArgumentNullException.ThrowIfNull(batch);
        OrderRows(index / MicroBatchesPerEpoch);
        long first = index % MicroBatchesPerEpoch * _options.BatchSize;
        int count = (int)Math.Min(_options.BatchSize, _order.Length - first);
        int longest = 0;
        for (int b = 0; b < count; b++)
        {
            _rows[b].Clear();
            foreach (int sample in Samples(_order[first + b]))
                _rows[b].Add((_encoder.Encode(_file, _file.Read(sample)), _file.LineOf(sample)));
            longest = Math.Max(longest, _rows[b].Sum(r => r.Row.InputIds.Length));
        }
        batch.Begin(count, PaddedLength(longest), _encoder.PaddingId);
        for (int b = 0; b < count; b++)
            batch.SetRow(b, _rows[b]);
    }

    private IReadOnlyList<int> Samples(int row) => _options.Packed is { } packed ? packed[row] : [row];

    private int PaddedLength(int longest)
    {
        long padded = ((long)longest + _options.PadToMultipleOf - 1) / _options.PadToMultipleOf * _options.PadToMultipleOf;
        return (int)Math.Min(padded, _encoder.MaxLength);
    }

    private void OrderRows(long epoch)
    {
        if (_orderEpoch == (_options.Shuffle ? epoch : 0))
            return;
        if (_options.Shuffle)
        {
            Permutation.Fill(_order, _options.Seed, epoch);
        }
        else
        {
            for (int i = 0; i < _order.Length; i++)
                _order[i] = i;
        }
        if (_sizes is not null)
        {
            for (int start = 0; start < _order.Length; start += _options.SortedRows)
            {
                int[] sorted = [.. _order.Skip(start).Take(_options.SortedRows).OrderByDescending(row => _sizes[row])];
                sorted.CopyTo(_order, start);
            }
        }
        _orderEpoch = _options.Shuffle ? epoch : 0;
    }
}
