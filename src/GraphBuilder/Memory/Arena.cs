namespace SorsaOrt.GraphBuilder.Memory;

/// <summary>ONNX Runtime's arena, played through: which pages of the memory that it asks the system for are ever written.</summary>
/// <remarks>
/// Best fit with coalescing: sizes are rounded to 256 bytes; the smallest free chunk that holds them is taken and split only where it is twice as large or 128 MB larger;
/// where none is large enough, another region is asked for, twice as large as the last. Nothing is given back, so a page stays in memory from its first use on.
/// Source: BFCArena of onnxruntime/core/framework with its defaults.
/// </remarks>
internal sealed class Arena
{
    private const long Granularity = 256;
    private const long FirstRegion = 1L << 20;
    private const long LargestStep = 1L << 30;
    private const long MostUnused = 128L << 20;
    private const int PageBits = 12;

    private readonly List<bool[]> _pages = [];
    private readonly SortedSet<Chunk> _free = new(Comparer<Chunk>.Create((a, b) =>
        a.Bytes != b.Bytes ? a.Bytes.CompareTo(b.Bytes) : a.Region != b.Region ? a.Region.CompareTo(b.Region) : a.Start.CompareTo(b.Start)));
    private long _nextRegion = FirstRegion;

    /// <summary>Bytes of pages that were used.</summary>
    public long TouchedBytes { get; private set; }

    /// <summary>A chunk for <paramref name="bytes"/>, all of which will be written.</summary>
    public Chunk Allocate(long bytes)
    {
        var size = (Math.Max(1, bytes) + Granularity - 1) / Granularity * Granularity;
        var chunk = _free.GetViewBetween(new Chunk(0, 0, size), new Chunk(int.MaxValue, 0, long.MaxValue)).Min ?? Extend(size);
        _free.Remove(chunk);
        if (chunk.Bytes >= 2 * size || chunk.Bytes - size >= MostUnused)
        {
            var rest = new Chunk(chunk.Region, chunk.Start + size, chunk.Bytes - size) { Previous = chunk, Next = chunk.Next };
            if (chunk.Next is { } next)
                next.Previous = rest;
            (chunk.Next, chunk.Bytes) = (rest, size);
            _free.Add(rest);
        }
        chunk.InUse = true;
        Touch(chunk, bytes);
        return chunk;
    }

    /// <summary>Gives a chunk back; free neighbours become one.</summary>
    public void Free(Chunk chunk)
    {
        chunk.InUse = false;
        if (chunk.Next is { InUse: false } next)
            Merge(chunk, next);
        if (chunk.Previous is { InUse: false } previous)
        {
            _free.Remove(previous);
            Merge(previous, chunk);
            chunk = previous;
        }
        _free.Add(chunk);
    }

    private void Merge(Chunk chunk, Chunk next)
    {
        _free.Remove(next);
        chunk.Bytes += next.Bytes;
        chunk.Next = next.Next;
        if (next.Next is { } after)
            after.Previous = chunk;
    }

    private Chunk Extend(long size)
    {
        var isLarge = size > _nextRegion;
        while (size > _nextRegion)
            _nextRegion *= 2;
        var region = new Chunk(_pages.Count, 0, _nextRegion);
        _pages.Add(new bool[_nextRegion >> PageBits]);
        if (!isLarge)
            _nextRegion = Math.Min(2 * _nextRegion, Math.Max(_nextRegion, LargestStep));
        _free.Add(region);
        return region;
    }

    private void Touch(Chunk chunk, long bytes)
    {
        var pages = _pages[chunk.Region];
        for (var page = chunk.Start >> PageBits; page << PageBits < chunk.Start + bytes; page++)
        {
            TouchedBytes += pages[page] ? 0 : 1 << PageBits;
            pages[page] = true;
        }
    }

    /// <summary>A stretch of a region, in use or free.</summary>
    internal sealed class Chunk(int region, long start, long bytes)
    {
        public int Region => region;

        public long Start => start;

        public long Bytes { get; set; } = bytes;

        public bool InUse { get; set; }

        public Chunk? Previous { get; set; }

        public Chunk? Next { get; set; }
    }
}
