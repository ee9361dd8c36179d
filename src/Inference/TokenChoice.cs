using System.Numerics.Tensors;
using SorsaOrt.Engines;

namespace SorsaOrt.Inference;

/// <summary>Chooses the next token from logits: the most likely one, or a draw. Its buffers are used again from token to token.</summary>
/// <remarks>
/// Draws: pᵢ ∝ exp((zᵢ − max z) / temperature); with top-p the fewest most likely tokens that reach it are kept. Row r draws u in [0, 1) from the upper
/// 53 bits of SplitMix64 (Steele, Lea, Flood 2014) begun at mix(seed) ⊕ mix(r + golden), and takes the first token, in the order of the kept ones, whose
/// cumulative probability exceeds u. A row's draws depend on nothing but seed and r, so batching does not change them.
/// </remarks>
internal sealed class TokenChoice
{
    private const ulong Golden = 0x9E3779B97F4A7C15;

    private readonly float _temperature;
    private readonly float _topP;
    private readonly int _tokens;
    private readonly float[] _weights;
    private readonly int[] _ids;
    private readonly float[] _kept;

    /// <summary>For logits of <paramref name="vocabularySize"/> tokens.</summary>
    public TokenChoice(DecodingOptions options, int vocabularySize)
    {
        (_temperature, _topP) = (options.Temperature, options.TopP);
        _tokens = options.TokenCount == 0 ? vocabularySize : Math.Min(options.TokenCount, vocabularySize);
        int size = options.Temperature == 0 ? 0 : _tokens;
        (_weights, _ids, _kept) = (new float[size], new int[size], new float[size]);
    }

    /// <summary>The state from which row <paramref name="row"/> draws.</summary>
    public static ulong Begin(ulong seed, int row) => unchecked(Mix(seed) ^ Mix((ulong)row + Golden));

    /// <summary>Chooses from logits [vocabulary].</summary>
    /// <exception cref="EngineException">They are not finite.</exception>
    public int Choose(ReadOnlySpan<float> logits, ref ulong state)
    {
        logits = logits[.._tokens];
        int best = TensorPrimitives.IndexOfMax(logits);   // the first NaN, where there is one
        if (!float.IsFinite(logits[best]))
            throw new EngineException($"The model's logits hold {logits[best]} for token {best}: its weights are damaged, or its precision is too low here.");
        return _temperature == 0 ? best : Draw(logits, logits[best], Next(ref state));
    }

    private int Draw(ReadOnlySpan<float> logits, float most, double u)
    {
        TensorPrimitives.Subtract(logits, most, _weights);
        TensorPrimitives.Divide<float>(_weights, _temperature, _weights);
        TensorPrimitives.Exp<float>(_weights, _weights);
        double total = 0;
        foreach (float weight in _weights)
            total += weight;
        int kept = _topP < 1 ? KeepNucleus(total, out total) : KeepAll();
        double target = u * total, sum = 0;
        for (int i = 0; i < kept; i++)
        {
            sum += _kept[i];
            if (sum > target)
                return _ids[i];
        }
        return _ids[kept - 1];   // rounding of the sums
    }

    private int KeepAll()
    {
        _weights.CopyTo(_kept, 0);
        for (int i = 0; i < _tokens; i++)
            _ids[i] = i;
        return _tokens;
    }

    private int KeepNucleus(double total, out double kept)
    {
        // Tokens below (1 − p)/V add up to less than 1 − p, so the nucleus needs none of them: few are left to sort.
        double least = total * (1.0 - _topP) / _tokens;
        int count = 0;
        for (int i = 0; i < _tokens; i++)
        {
            if (_weights[i] >= least)
                (_kept[count], _ids[count++]) = (-_weights[i], i);
        }
        Array.Sort(_kept, _ids, 0, count);
        kept = 0;
        for (int i = 0; i < count; i++)
        {
            _kept[i] = -_kept[i];
            kept += _kept[i];
            if (kept >= _topP * total)
                return i + 1;
        }
        return count;
    }

    private static double Next(ref ulong state)
    {
        state = unchecked(state + Golden);
        return (Mix(state) >> 11) * (1.0 / (1L << 53));
    }

    private static ulong Mix(ulong z)
    {
        unchecked
        {
            z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
            z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
            return z ^ (z >> 31);
        }
    }
}
