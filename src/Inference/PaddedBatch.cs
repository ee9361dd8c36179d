using SorsaOrt.Engines;

namespace SorsaOrt.Inference;

/// <summary>Rows of different lengths as one batch, padded at the right; its memory is used again from batch to batch.</summary>
/// <remarks>Right padding needs no care in a causal model: no token sees what stands after it.</remarks>
internal sealed class PaddedBatch
{
    private long[] _ids = [];
    private long[] _mask = [];
    private long[] _positions = [];
    private long[] _labelIds = [];
    private int _rows;
    private int _width;
    private int _labels;

    /// <summary>The rows set so far. It looks into this object's memory.</summary>
    public TokenBatch Batch => new()
    {
        BatchSize = _rows,
        SequenceLength = _width,
        InputIds = _ids.AsSpan(0, _rows * _width),
        AttentionMask = _mask.AsSpan(0, _rows * _width),
        LabelPositions = _positions.AsSpan(0, _labels),
        LabelIds = _labelIds.AsSpan(0, _labels),
    };

    /// <summary>Starts a batch of padding.</summary>
    public void Begin(int rows, int width)
    {
        int size = checked(rows * width);
        if (_ids.Length < size)
        {
            int capacity = Math.Max(size, _ids.Length + _ids.Length / 2);
            (_ids, _mask, _positions, _labelIds) = (new long[capacity], new long[capacity], new long[capacity], new long[capacity]);
        }
        (_rows, _width, _labels) = (rows, width, 0);
        _ids.AsSpan(0, size).Clear();
        _mask.AsSpan(0, size).Clear();
    }

    /// <summary>Writes a row's tokens.</summary>
    public void SetRow(int row, ReadOnlySpan<int> ids)
    {
        int start = row * _width;
        for (int t = 0; t < ids.Length; t++)
            _ids[start + t] = ids[t];
        _mask.AsSpan(start, ids.Length).Fill(1);
    }

    /// <summary>Asks for the prediction after token <paramref name="t"/> of a row; <paramref name="id"/> is the right one.</summary>
    public void AddLabel(int row, int t, int id)
    {
        _positions[_labels] = row * _width + t;
        _labelIds[_labels++] = id;
    }
}
