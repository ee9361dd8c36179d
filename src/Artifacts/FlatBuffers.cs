namespace SorsaOrt.Artifacts;

/// <summary>Gives a view of up to <paramref name="count"/> elements (at least one) of a flat buffer from element <paramref name="offset"/> on; read before the next call.</summary>
public delegate ReadOnlySpan<float> FlatView(long offset, int count);

/// <summary>Takes elements of a flat buffer that stand from element <paramref name="offset"/> on.</summary>
public delegate void FlatSink(long offset, ReadOnlySpan<float> elements);

/// <summary>Views of and sinks into memory, native memory included, without copies in between.</summary>
public static unsafe class FlatBuffers
{
    /// <summary>Elements handed over at once.</summary>
    public const int ChunkElements = 1 << 20;

    /// <summary>A view of <paramref name="length"/> floats at an address, which must live as long as the view is used.</summary>
    public static FlatView View(nint address, long length) => (offset, count) =>
    {
        Check(offset, count, length);
        return new ReadOnlySpan<float>((float*)address + offset, count);
    };

    /// <summary>A view of an array.</summary>
    public static FlatView View(float[] elements) => (offset, count) => elements.AsSpan(checked((int)offset), count);

    /// <summary>A sink into <paramref name="length"/> floats at an address.</summary>
    public static FlatSink Sink(nint address, long length) => (offset, elements) =>
    {
        Check(offset, elements.Length, length);
        elements.CopyTo(new Span<float>((float*)address + offset, elements.Length));
    };

    /// <summary>A sink into an array.</summary>
    public static FlatSink Sink(float[] target) => (offset, elements) => elements.CopyTo(target.AsSpan(checked((int)offset)));

    /// <summary>Whether each of <paramref name="length"/> elements is a number.</summary>
    public static bool IsFinite(FlatView view, long length)
    {
        for (long offset = 0; offset < length;)
        {
            ReadOnlySpan<float> chunk = view(offset, (int)Math.Min(ChunkElements, length - offset));
            foreach (float value in chunk)
            {
                if (!float.IsFinite(value))
                    return false;
            }
            offset += chunk.Length;
        }
        return true;
    }

    private static void Check(long offset, long count, long length)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(offset);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(count, length - offset);
    }
}
