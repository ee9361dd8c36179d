namespace SorsaOrt.Artifacts;

/// <summary>Memory that a mapped file takes while it is read from front to back: without this, all of it by the end.</summary>
public static unsafe class MappedPages
{
    /// <summary>Lets go of the whole pages in a view of a read-only mapping; they are read again when touched. Nothing happens on Windows.</summary>
    public static void Release(ReadOnlySpan<byte> view)
    {
        fixed (byte* first = view)
        {
            nint page = Environment.SystemPageSize;
            nint start = ((nint)first + page - 1) / page * page;
            nint end = ((nint)first + view.Length) / page * page;
            if (end > start)
                Posix.DropPages(start, end - start);
        }
    }
}
