namespace SorsaOrt.Engines;

/// <summary>Names of the graphs' inputs and outputs that are not parameters.</summary>
internal static class GraphNames
{
    public const string InputIds = "input_ids";
    public const string AttentionMask = "attention_mask";
    public const string PositionIds = "position_ids";
    public const string LabelPositions = "label_positions";
    public const string LabelIds = "label_ids";
    public const string DropoutKeys = "dropout_keys";
    public const string LossScale = "loss_scale";
    public const string LossSum = "loss_sum";
    public const string Logits = "logits";

    /// <summary>Output of the official training model alone: ‖gradient so far‖².</summary>
    public const string SquaredGradientNorm = "gradient_sum_of_squares";

    /// <summary>Input that holds a parameter's gradient so far.</summary>
    public static string GradientIn(string parameter) => parameter + "_grad.accumulation.buffer";

    /// <summary>Output: the gradient so far and that of this micro-batch.</summary>
    public static string GradientOut(string parameter) => parameter + "_grad.accumulation.out";
}

/// <summary>Native memory for a run's tokens, used again from run to run and grown when a batch needs more.</summary>
internal sealed class TokenInputs : IDisposable
{
    private readonly IReadOnlyList<string> _tokenInputs;
    private readonly Dictionary<string, FlatBuffer<long>> _buffers = new(StringComparer.Ordinal);
    private readonly Dictionary<(BoundRun Run, string Name), (long Rows, long Columns)> _bound = [];

    /// <summary>For a model with these token inputs.</summary>
    public TokenInputs(IReadOnlyList<string> tokenInputs)
    {
        foreach (var name in tokenInputs)
        {
            if (name is not (GraphNames.InputIds or GraphNames.AttentionMask or GraphNames.PositionIds))
                throw new EngineException($"The model's token input '{name}' is not known; input_ids, attention_mask and position_ids are.");
        }
        _tokenInputs = tokenInputs;
    }

    /// <summary>Copies the tokens and binds them.</summary>
    public void Bind(BoundRun run, in TokenBatch batch)
    {
        Check(batch);
        var size = batch.BatchSize * batch.SequenceLength;
        foreach (var name in _tokenInputs)
        {
            var values = Reserve(name, size);
            switch (name)
            {
                case GraphNames.InputIds:
                    batch.InputIds.CopyTo(values);
                    break;
                case GraphNames.AttentionMask when batch.AttentionMask.IsEmpty:
                    values.Fill(1);
                    break;
                case GraphNames.AttentionMask:
                    batch.AttentionMask.CopyTo(values);
                    break;
                case GraphNames.PositionIds when batch.PositionIds.IsEmpty:
                    for (var i = 0; i < values.Length; i++)
                        values[i] = i % batch.SequenceLength;
                    break;
                default:
                    batch.PositionIds.CopyTo(values);
                    break;
            }
            BindView(run, name, batch.BatchSize, batch.SequenceLength);
        }
        var labels = batch.LabelPositions.Length;
        batch.LabelPositions.CopyTo(Reserve(GraphNames.LabelPositions, labels));
        BindView(run, GraphNames.LabelPositions, labels, 0);
        var ids = Reserve(GraphNames.LabelIds, labels);
        if (batch.LabelIds.IsEmpty)
            ids.Clear();
        else
            batch.LabelIds.CopyTo(ids);
        BindView(run, GraphNames.LabelIds, labels, 0);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (var buffer in _buffers.Values)
            buffer.Dispose();
    }

    private static void Check(in TokenBatch batch)
    {
        var size = checked(batch.BatchSize * batch.SequenceLength);
        var good = size > 0 && batch.InputIds.Length == size
            && (batch.AttentionMask.IsEmpty || batch.AttentionMask.Length == size)
            && (batch.PositionIds.IsEmpty || batch.PositionIds.Length == size)
            && !batch.LabelPositions.IsEmpty && (batch.LabelIds.IsEmpty || batch.LabelIds.Length == batch.LabelPositions.Length)
            && !batch.LabelPositions.ContainsAnyExceptInRange(0, size - 1);
        if (!good)
            throw new ArgumentException($"The spans of a batch of {batch.BatchSize} × {batch.SequenceLength} tokens do not fit it.", nameof(batch));
    }

    private Span<long> Reserve(string name, int length)
    {
        if (!_buffers.TryGetValue(name, out var buffer) || buffer.Length < length)
        {
            var grown = new FlatBuffer<long>(Math.Max(length, 2 * (buffer?.Length ?? 0)));
            buffer?.Dispose();
            _buffers[name] = buffer = grown;
            foreach (var stale in _bound.Keys.Where(k => k.Name == name).ToArray())
                _bound.Remove(stale);
        }
        return buffer.Slice(0, length);
    }

    private void BindView(BoundRun run, string name, long rows, long columns)
    {
        if (_bound.TryGetValue((run, name), out var shape) && shape == (rows, columns))
            return;
        run.Input(name, columns == 0 ? _buffers[name].View(0, rows) : _buffers[name].View(0, rows, columns));
        _bound[(run, name)] = (rows, columns);
    }
}
