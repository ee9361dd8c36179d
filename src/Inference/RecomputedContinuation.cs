namespace SorsaOrt.Inference;

/// <summary>Continues texts with a model that keeps nothing between runs: every step runs the whole texts again.</summary>
internal sealed class RecomputedContinuation : Continuation
{
    private readonly LanguageModel _model;
    private readonly PaddedBatch _batch = new();
    private readonly List<List<int>> _texts;
    private float[] _logits = [];

    /// <summary>Runs the prompts.</summary>
    public RecomputedContinuation(LanguageModel model, IReadOnlyList<int[]> prompts)
    {
        _model = model;
        _texts = [.. prompts.Select(p => p.ToList())];
        Run();
    }

    /// <inheritdoc/>
    public override int Rows => _texts.Count;

    /// <inheritdoc/>
    public override ReadOnlySpan<float> Logits => _logits.AsSpan(0, Rows * _model.VocabularySize);

    /// <inheritdoc/>
    public override void Append(ReadOnlySpan<int> tokens)
    {
        ArgumentOutOfRangeException.ThrowIfNotEqual(tokens.Length, Rows, nameof(tokens));
        for (int row = 0; row < Rows; row++)
            _texts[row].Add(tokens[row]);
        Run();
    }

    /// <inheritdoc/>
    public override bool Keep(ReadOnlySpan<int> rows)
    {
        for (int i = 0; i < rows.Length; i++)
            _texts[i] = _texts[rows[i]];
        _texts.RemoveRange(rows.Length, _texts.Count - rows.Length);
        return true;
    }

    /// <inheritdoc/>
    public override void Dispose() { }

    private void Run()
    {
        _batch.Begin(Rows, _texts.Max(t => t.Count));
        for (int row = 0; row < Rows; row++)
        {
            _batch.SetRow(row, System.Runtime.InteropServices.CollectionsMarshal.AsSpan(_texts[row]));
            _batch.AddLabel(row, _texts[row].Count - 1, id: 0);
        }
        var logits = _model.Logits(_batch.Batch);
        if (_logits.Length < logits.Length)
            _logits = new float[logits.Length];
        logits.CopyTo(_logits);
    }
}
