namespace SorsaOrt.Data;

/// <summary>The order of rows in an epoch, computed from (seed, epoch) and nothing else, so that a resumed run sees the same order.</summary>
/// <remarks>
/// Fisher–Yates from the end: for i = n−1 … 1 swap entry i with entry j, j uniform in 0 … i. Numbers come from SplitMix64
/// (Steele, Lea, Flood 2014), begun at mix(seed) ⊕ mix(epoch + golden); j = ⌊u·(i+1) / 2⁶⁴⌋ with Lemire's rejection, so no order is favoured.
/// </remarks>
public static class Permutation
{
    private const ulong Golden = 0x9E3779B97F4A7C15;

    /// <summary>Fills <paramref name="order"/> with a permutation of 0 … length − 1.</summary>
    public static void Fill(Span<int> order, ulong seed, long epoch)
    {
        for (int i = 0; i < order.Length; i++)
            order[i] = i;
        ulong state = unchecked(Mix(seed) ^ Mix((ulong)epoch + Golden));
        for (int i = order.Length - 1; i > 0; i--)
        {
            int j = (int)Below(ref state, (ulong)i + 1);
            (order[i], order[j]) = (order[j], order[i]);
        }
    }

    private static ulong Below(ref ulong state, ulong bound)
    {
        unchecked
        {
            ulong threshold = (0 - bound) % bound;
            while (true)
            {
                state += Golden;
                ulong high = Math.BigMul(Mix(state), bound, out ulong low);
                if (low >= threshold)
                    return high;
            }
        }
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
