namespace SorsaOrt.Data;

/// <summary>Which samples share a row: as many as fit into the longest row, each whole.</summary>
/// <remarks>
/// Best fit: a sample joins the open row with the least room that still takes it, among the <see cref="OpenRows"/> opened last; else it opens a
/// row. Rows are numbered by their first sample, so file order stays near. Depends on the lengths and their order alone.
/// </remarks>
public static class Packing
{
    /// <summary>Rows that are filled at the same time.</summary>
    public const int OpenRows = 256;

    /// <summary>Samples of each row.</summary>
    /// <param name="lengths">Tokens of each sample, at most <paramref name="maxLength"/>.</param>
    /// <param name="maxLength">Tokens of a row.</param>
    public static int[][] Of(IReadOnlyList<int> lengths, int maxLength)
    {
        ArgumentNullException.ThrowIfNull(lengths);
        var rows = new List<List<int>>();
        var open = new SortedSet<(int Room, int Row)>();
        var opened = new Queue<int>();
        int[] room = new int[lengths.Count];
        for (int sample = 0; sample < lengths.Count; sample++)
        {
            int length = lengths[sample];
            ArgumentOutOfRangeException.ThrowIfGreaterThan(length, maxLength, nameof(lengths));
            using var fitting = open.GetViewBetween((length, -1), (int.MaxValue, int.MaxValue)).GetEnumerator();
            int row = rows.Count;
            if (fitting.MoveNext())
            {
                row = fitting.Current.Row;
                open.Remove(fitting.Current);
            }
            else
            {
                rows.Add([]);
                room[row] = maxLength;
                opened.Enqueue(row);
                if (opened.Count > OpenRows && opened.Dequeue() is var closed)
                    open.Remove((room[closed], closed));
            }
            rows[row].Add(sample);
            room[row] -= length;
            if (room[row] > 0)
                open.Add((room[row], row));
        }
        return [.. rows.Select(r => r.ToArray())];
    }
}
