namespace SorsaOrt.Adapters;

/// <summary>The generator xoshiro256** of Blackman and Vigna (arXiv 1805.01407), its state four plain numbers.</summary>
/// <remarks>Same numbers from the same seed on every machine and .NET version, which <see cref="Random"/> does not promise.</remarks>
public sealed class Xoshiro256
{
    private ulong _s0, _s1, _s2, _s3;

    /// <summary>A generator whose state is the first four numbers of SplitMix64 from the seed, as its authors advise.</summary>
    public Xoshiro256(ulong seed)
    {
        (_s0, _s1, _s2, _s3) = (SplitMix64(ref seed), SplitMix64(ref seed), SplitMix64(ref seed), SplitMix64(ref seed));
    }

    /// <summary>A generator that continues from a saved state.</summary>
    public Xoshiro256((ulong S0, ulong S1, ulong S2, ulong S3) state)
    {
        if (state == default)
            throw new ArgumentException("the state of xoshiro256** must not be all zero", nameof(state));
        (_s0, _s1, _s2, _s3) = state;
    }

    /// <summary>The whole state.</summary>
    public (ulong S0, ulong S1, ulong S2, ulong S3) State => (_s0, _s1, _s2, _s3);

    /// <summary>The next 64 bits.</summary>
    public ulong NextUInt64()
    {
        unchecked
        {
            var result = ulong.RotateLeft(_s1 * 5, 7) * 9;
            var t = _s1 << 17;
            _s2 ^= _s0;
            _s3 ^= _s1;
            _s1 ^= _s2;
            _s0 ^= _s3;
            _s2 ^= t;
            _s3 = ulong.RotateLeft(_s3, 45);
            return result;
        }
    }

    /// <summary>Uniform in [0, 1), 53 bits.</summary>
    public double NextDouble() => (NextUInt64() >> 11) * (1.0 / (1UL << 53));

    /// <summary>Fills with values uniform in [-bound, bound).</summary>
    public void FillUniform(Span<float> values, double bound)
    {
        foreach (ref var value in values)
            value = (float)(((2 * NextDouble()) - 1) * bound);
    }

    /// <summary>Fills with standard normal values (Box-Muller, both values used).</summary>
    public void FillNormal(Span<float> values)
    {
        for (var i = 0; i < values.Length; i += 2)
        {
            var radius = Math.Sqrt(-2 * Math.Log(1 - NextDouble()));
            var (sin, cos) = Math.SinCos(2 * Math.PI * NextDouble());
            values[i] = (float)(radius * cos);
            if (i + 1 < values.Length)
                values[i + 1] = (float)(radius * sin);
        }
    }

    private static ulong SplitMix64(ref ulong state)
    {
        unchecked
        {
            state += 0x9E3779B97F4A7C15;
            var z = state;
            z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
            z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
            return z ^ (z >> 31);
        }
    }
}
