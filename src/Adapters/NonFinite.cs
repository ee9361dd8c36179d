using System.Globalization;
using System.Numerics.Tensors;

namespace SorsaOrt.Adapters;

/// <summary>Finds NaN and infinities.</summary>
public static class NonFinite
{
    private const int Chunk = 4096;

    /// <summary>How many values are NaN or infinite, and the index of the first (-1 where all are finite).</summary>
    public static (long Count, int First) Find(ReadOnlySpan<float> values)
    {
        long count = 0;
        var first = -1;
        for (var start = 0; start < values.Length; start += Math.Min(Chunk, values.Length - start))
        {
            var part = values.Slice(start, Math.Min(Chunk, values.Length - start));
            // MaxMagnitude hands a NaN through, so one fast pass clears a good chunk.
            if (float.IsFinite(TensorPrimitives.MaxMagnitude(part)))
                continue;
            for (var i = 0; i < part.Length; i++)
            {
                if (float.IsFinite(part[i]))
                    continue;
                first = first < 0 ? start + i : first;
                count++;
            }
        }
        return (count, first);
    }

    /// <summary>Throws <see cref="DecompositionException"/> where a value of a [rows, columns] matrix is NaN or infinite.</summary>
    /// <param name="values">Row-major, [rows, columns].</param>
    /// <param name="columns">Length of a row.</param>
    /// <param name="what">Begins the message, e.g. "the weight".</param>
    internal static void Refuse(ReadOnlySpan<float> values, int columns, string what)
    {
        var (count, first) = Find(values);
        if (count == 0)
            return;
        throw new DecompositionException(string.Create(
            CultureInfo.InvariantCulture,
            $"{what} holds {count} values that are not finite (NaN or infinite) of {values.Length}; the first is {values[first]} at row {first / columns}, column {first % columns} (index {first})"),
            count,
            first);
    }
}
