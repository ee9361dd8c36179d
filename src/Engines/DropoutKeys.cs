namespace SorsaOrt.Engines;

/// <summary>The input that decides what dropout drops: one random odd number per token, computed from a seed and the token's place alone.</summary>
/// <remarks>SplitMix64 (Steele, Lea, Flood, OOPSLA 2014) used as a function of the counter, so there is no state to save.</remarks>
internal sealed class DropoutKeys : IDisposable
{
    private const ulong Step = 0x9E3779B97F4A7C15;

    private FlatBuffer<long> _keys = new(0);

    /// <summary>Fills and binds the keys of a batch.</summary>
    public void Bind(BoundRun run, in TokenBatch batch)
    {
        var count = batch.BatchSize * batch.SequenceLength;
        if (_keys.Length < count)
        {
            var grown = new FlatBuffer<long>(count);
            _keys.Dispose();
            _keys = grown;
        }
        var start = Mix(batch.DropoutSeed);
        var keys = _keys.Slice(0, count);
        for (var i = 0; i < count; i++)
            keys[i] = unchecked((long)(Mix(unchecked(start + (ulong)i)) | 1));
        run.Input(GraphNames.DropoutKeys, _keys.View(0, batch.BatchSize, batch.SequenceLength));
    }

    /// <inheritdoc/>
    public void Dispose() => _keys.Dispose();

    private static ulong Mix(ulong counter)
    {
        unchecked
        {
            var z = (counter + 1) * Step;
            z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
            z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
            return z ^ (z >> 31);
        }
    }
}
