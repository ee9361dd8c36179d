namespace SorsaOrt.Export;

/// <summary>The rotary frequencies f_i = base^(−2i/d) of a head of d, i from 0 to d/2 − 1, stretched for longer contexts.</summary>
/// <remarks>Source: transformers, modeling_rope_utils.py (linear, llama3); llama.cpp, rope_freqs.weight (given factors).</remarks>
internal abstract record RotaryScaling
{
    /// <summary>Frequencies as they are.</summary>
    public static readonly RotaryScaling None = new Unscaled();

    /// <summary>The frequencies in radians per position, [<paramref name="headSize"/> / 2].</summary>
    public double[] Frequencies(double rotaryBase, int headSize) =>
        [.. Enumerable.Range(0, headSize / 2).Select(i => Stretch(Math.Pow(rotaryBase, -2.0 * i / headSize), i))];

    private protected abstract double Stretch(double frequency, int index);

    private sealed record Unscaled : RotaryScaling
    {
        private protected override double Stretch(double frequency, int index) => frequency;
    }

    /// <summary>Every frequency divided by a factor.</summary>
    public sealed record Linear(double Factor) : RotaryScaling
    {
        private protected override double Stretch(double frequency, int index) => frequency / Factor;
    }

    /// <summary>Frequency i divided by factor i, as GGUF files of Llama 3 have them.</summary>
    public sealed record PerFrequency(IReadOnlyList<float> Factors) : RotaryScaling
    {
        private protected override double Stretch(double frequency, int index) => frequency / Factors[index];
    }

    /// <summary>Llama 3.1: waves longer than the old context / low are divided, those shorter than it / high kept, a smooth passage between.</summary>
    public sealed record Llama3(double Factor, double LowFactor, double HighFactor, double OriginalPositions) : RotaryScaling
    {
        private protected override double Stretch(double frequency, int index)
        {
            var waves = OriginalPositions * frequency / (2 * Math.PI);
            if (waves < LowFactor)
                return frequency / Factor;
            if (waves > HighFactor)
                return frequency;
            var smooth = (waves - LowFactor) / (HighFactor - LowFactor);
            return ((1 - smooth) * frequency / Factor) + (smooth * frequency);
        }
    }
}
