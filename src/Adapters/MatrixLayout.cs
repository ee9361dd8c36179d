namespace SorsaOrt.Adapters;

/// <summary>Transposition of row-major matrices.</summary>
public static class MatrixLayout
{
    private const int Block = 32;

    /// <summary>target [columns, rows] = sourceᵀ, source [rows, columns]; in blocks that stay in the cache.</summary>
    public static void Transpose<T>(ReadOnlySpan<T> source, int rows, int columns, Span<T> target)
    {
        for (var i0 = 0; i0 < rows; i0 += Block)
        {
            for (var j0 = 0; j0 < columns; j0 += Block)
            {
                var iEnd = Math.Min(rows, i0 + Block);
                var jEnd = Math.Min(columns, j0 + Block);
                for (var j = j0; j < jEnd; j++)
                {
                    for (var i = i0; i < iEnd; i++)
                        target[(j * rows) + i] = source[(i * columns) + j];
                }
            }
        }
    }
}
