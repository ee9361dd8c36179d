namespace SorsaOrt.Data;

/// <summary>A micro-batch: B rows of a sample or several, padded on the right to S tokens. Its buffers are used again by the next read into it.</summary>
public sealed class Batch
{
    private long[] _inputIds = [], _attentionMask = [], _positionIds = [], _labels = [], _labelPositions = [], _labelIds = [];
    private readonly List<int> _rows = [];

    /// <summary>Rows B.</summary>
    public int BatchSize { get; private set; }

    /// <summary>Tokens per row S, padding included.</summary>
    public int SequenceLength { get; private set; }

    /// <summary>Tokens that are no padding.</summary>
    public int TokenCount { get; private set; }

    /// <summary>Label tokens N, at least 1.</summary>
    public int LabelCount { get; private set; }

    /// <summary>Token ids [B, S].</summary>
    public Memory<long> InputIds => _inputIds.AsMemory(0, BatchSize * SequenceLength);

    /// <summary>1 for a token, 0 for padding; where samples share a row, the sample's number in it, from 1 [B, S].</summary>
    public Memory<long> AttentionMask => _attentionMask.AsMemory(0, BatchSize * SequenceLength);

    /// <summary>Counted from 0 in every sample; padding counts on [B, S].</summary>
    public Memory<long> PositionIds => _positionIds.AsMemory(0, BatchSize * SequenceLength);

    /// <summary>Token ids that count in the loss, −100 elsewhere; not shifted [B, S].</summary>
    public Memory<long> Labels => _labels.AsMemory(0, BatchSize * SequenceLength);

    /// <summary>Where each label is predicted: b·S + t for the label at token t + 1 of row b [N], ascending.</summary>
    public Memory<long> LabelPositions => _labelPositions.AsMemory(0, LabelCount);

    /// <summary>The token to be predicted at each of <see cref="LabelPositions"/> [N].</summary>
    public Memory<long> LabelIds => _labelIds.AsMemory(0, LabelCount);

    /// <summary>Lines of the samples in their file, from 1, in order: for messages.</summary>
    public IReadOnlyList<int> Rows => _rows;

    /// <summary>Takes the shape of a new content; everything is padding afterwards.</summary>
    internal void Begin(int batchSize, int sequenceLength, int paddingId)
    {
        int size = checked(batchSize * sequenceLength);
        if (_inputIds.Length < size)
        {
            _inputIds = new long[size];
            _attentionMask = new long[size];
            _positionIds = new long[size];
            _labels = new long[size];
            _labelPositions = new long[size];
            _labelIds = new long[size];
        }
        _rows.Clear();
        (BatchSize, SequenceLength, TokenCount, LabelCount) = (batchSize, sequenceLength, 0, 0);
        InputIds.Span.Fill(paddingId);
        AttentionMask.Span.Clear();
        Labels.Span.Fill(RowParser.NoLabel);
    }

    /// <summary>Writes the samples of row <paramref name="b"/>, one after the other; rows come in order.</summary>
    internal void SetRow(int b, IReadOnlyList<(EncodedRow Row, int Line)> samples)
    {
        int start = b * SequenceLength, end = start + SequenceLength;
        for (int i = 0; i < samples.Count; i++)
        {
            SetSample(start, samples[i].Row, i + 1);
            start += samples[i].Row.InputIds.Length;
            _rows.Add(samples[i].Line);
        }
        for (int position = samples[^1].Row.InputIds.Length; start < end; start++)
            _positionIds[start] = position++;
    }

    private void SetSample(int start, in EncodedRow row, int segment)
    {
        for (int t = 0; t < row.InputIds.Length; t++)
        {
            _inputIds[start + t] = row.InputIds[t];
            _attentionMask[start + t] = segment;
            _positionIds[start + t] = t;
            _labels[start + t] = row.Labels[t];
            if (t > 0 && row.Labels[t] != RowParser.NoLabel)
            {
                _labelPositions[LabelCount] = start + t - 1;
                _labelIds[LabelCount++] = row.Labels[t];
            }
        }
        TokenCount += row.InputIds.Length;
    }
}
