namespace SorsaOrt.Export;

/// <summary>Decodes elements of a row-major tensor to float32, from <paramref name="first"/> on; both ends lie on block boundaries. Thread-safe.</summary>
internal delegate void ElementReader(long first, Span<float> destination);

/// <summary>A weight where its file has it: nothing is read until it is asked for.</summary>
/// <param name="Name">Name in that file, for messages.</param>
/// <param name="Shape">Dimensions, row-major; a Linear is [out, in].</param>
/// <param name="BlockLength">Elements that are stored together along a row; 1 for plain floats.</param>
/// <param name="Read">Gives the elements.</param>
internal sealed record SourceTensor(string Name, IReadOnlyList<long> Shape, int BlockLength, ElementReader Read)
{
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
