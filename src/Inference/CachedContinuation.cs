namespace SorsaOrt.Inference;

/// <summary>Continues texts with a model that has a key/value cache: the prompts once, then one token per text and step.</summary>
/// <remarks>
/// Shorter prompts are padded at the right, so their cache has a gap between prompt and answer: the mask is 0 there for good, and
/// positions go on from the prompt's true length. Keys carry their rotation with them, so their place in the cache does not matter.
/// </remarks>
internal sealed class CachedContinuation : Continuation
{
    private readonly OnnxLanguageModel _model;
    private readonly int _width;
    private int[] _lengths;
    private int _appended;
    private KeyValueCache _cache;
    private float[] _logits = [];
    private long[] _ids = [];
    private long[] _mask = [];
    private long[] _positions = [];

    /// <summary>Runs the prompts.</summary>
    public CachedContinuation(OnnxLanguageModel model, IReadOnlyList<int[]> prompts)
    {
        _model = model;
        _lengths = [.. prompts.Select(p => p.Length)];
        _width = _lengths.Max();
        Reserve(_width);
        var ids = _ids.AsSpan(0, Rows * _width);
        for (int row = 0; row < Rows; row++)
        {
            for (int t = 0; t < _width; t++)
                ids[row * _width + t] = t < _lengths[row] ? prompts[row][t] : 0;
        }
        FillMask(_width);
        for (int i = 0; i < Rows * _width; i++)
            _positions[i] = i % _width;
        using var empty = KeyValueCache.Empty(model.Interface.Cache, Rows);
        _cache = Run(_width, _width, empty, row => row * _width + _lengths[row] - 1);
    }

    /// <inheritdoc/>
    public override int Rows => _lengths.Length;

    /// <inheritdoc/>
    public override ReadOnlySpan<float> Logits => _logits.AsSpan(0, Rows * _model.VocabularySize);

    /// <inheritdoc/>
    public override void Append(ReadOnlySpan<int> tokens)
    {
        ArgumentOutOfRangeException.ThrowIfNotEqual(tokens.Length, Rows, nameof(tokens));
        int total = _width + _appended + 1;
        Reserve(total);
        for (int row = 0; row < Rows; row++)
        {
            _ids[row] = tokens[row];
            _positions[row] = _lengths[row] + _appended;
        }
        FillMask(total);
        var past = _cache;
        _cache = Run(1, total, past, row => row);
        past.Dispose();
        _appended++;
    }

    /// <inheritdoc/>
    public override bool Keep(ReadOnlySpan<int> rows)
    {
        if (!_model.CacheIsInHostMemory)
            return false;
        var kept = _cache.Only(rows.ToArray());
        _cache.Dispose();
        _cache = kept;
        var lengths = new int[rows.Length];
        for (int i = 0; i < lengths.Length; i++)
            lengths[i] = _lengths[rows[i]];
        _lengths = lengths;
        return true;
    }

    /// <inheritdoc/>
    public override void Dispose() => _cache.Dispose();

    private KeyValueCache Run(int width, int total, KeyValueCache past, Func<int, int> place)
    {
        var feed = new TokenFeed(Rows, width, total, _ids, _mask, _positions);
        var outputs = _model.Run(feed, past, keepCache: true);
        try
        {
            int vocabulary = _model.VocabularySize;
            if (_logits.Length < Rows * vocabulary)
                _logits = new float[Rows * vocabulary];
            for (int row = 0; row < Rows; row++)
                LogitRows.Copy(outputs[0], place(row), _logits.AsSpan(row * vocabulary, vocabulary));
            return KeyValueCache.TakeOver(outputs, first: 1);
        }
        catch
        {
            outputs.Dispose();
            throw;
        }
    }

    private void FillMask(int total)
    {
        for (int row = 0; row < Rows; row++)
        {
            var mask = _mask.AsSpan(row * total, total);
            mask[.._lengths[row]].Fill(1);
            mask[_lengths[row].._width].Clear();
            mask[_width..].Fill(1);
        }
    }

    private void Reserve(int total)
    {
        int size = Rows * total;
        if (_mask.Length >= size)
            return;
        _mask = new long[size + size / 2];
        if (_ids.Length == 0)
            (_ids, _positions) = (new long[size], new long[size]);
    }
}
