using SorsaOrt.Artifacts;

namespace SorsaOrt.Export;

/// <summary>Decodes elements of a row-major tensor to float32, from <paramref name="first"/> on; both ends lie on block boundaries: multiples
/// of 256 from the start of a row, or the row's end. Thread-safe.</summary>
internal delegate void ElementReader(long first, Span<float> destination);

/// <summary>Bytes of a mapped file.</summary>
internal delegate ReadOnlySpan<byte> ByteView(long start, int length);

/// <summary>A weight where its file has it: nothing is read until it is asked for.</summary>
/// <param name="Name">Name in that file, for messages.</param>
/// <param name="Shape">Dimensions, row-major; a Linear is [out, in].</param>
/// <param name="Read">Gives the elements.</param>
/// <param name="ByteCount">Bytes in the file.</param>
/// <param name="View">A view of part of those bytes.</param>
internal sealed record SourceTensor(string Name, IReadOnlyList<long> Shape, ElementReader Read, long ByteCount, ByteView View)
{
    private const int LongestView = 1 << 30;

    /// <summary>Lets the file's pages go, when the last element has been read.</summary>
    public void Release()
    {
        for (var start = 0L; start < ByteCount; start += LongestView)
            MappedPages.Release(View(start, (int)Math.Min(LongestView, ByteCount - start)));
    }

    /// <summary>The same tensor with its rows in another order: row i is row <paramref name="source"/>(i) of this one.</summary>
    public SourceTensor WithRows(Func<long, long> source)
    {
        var width = Shape.Count == 1 ? 1 : Shape[^1];
        return this with
        {
            Read = (first, destination) =>
            {
                for (var done = 0; done < destination.Length;)
                {
                    var (row, column) = Math.DivRem(first + done, width);
                    var length = (int)Math.Min(destination.Length - done, width - column);
                    Read((source(row) * width) + column, destination.Slice(done, length));
                    done += length;
                }
            },
        };
    }
}
