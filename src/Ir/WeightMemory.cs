namespace SorsaOrt.Ir;

/// <summary>Gives the memory of weights back when they are written.</summary>
/// <remarks>
/// Weights pass through managed arrays of tens or hundreds of MB that die at once. Left alone the collector lets a dozen of them gather before it looks,
/// and memory would follow the collector's mood instead of the largest weight.
/// </remarks>
public static class WeightMemory
{
    private const long CollectAt = 64 << 20;
    private static long _dead;

    /// <summary>Says that arrays of that many bytes are no longer referenced.</summary>
    public static void LetGo(long bytes)
    {
        if (Interlocked.Add(ref _dead, bytes) < CollectAt)
            return;
        Interlocked.Exchange(ref _dead, 0);
        GC.Collect(GC.MaxGeneration, GCCollectionMode.Forced, blocking: true);
    }
}
