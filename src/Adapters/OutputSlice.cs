namespace SorsaOrt.Adapters;

/// <summary>The part of a packed weight, several Linears in one matrix along the outputs, that belongs to one of them.</summary>
/// <param name="Transposed">Whether matrices are stored [in, out]; otherwise [out, in].</param>
/// <param name="In">Input features.</param>
/// <param name="StoredOut">Output features of the packed weight.</param>
/// <param name="Start">First output feature of the slice.</param>
/// <param name="Out">Output features of the slice.</param>
public readonly record struct OutputSlice(bool Transposed, int In, int StoredOut, int Start, int Out)
{
    /// <summary>Copies the slice out of <paramref name="packed"/>, in the same layout.</summary>
    public T[] Take<T>(ReadOnlySpan<T> packed)
    {
        var slice = new T[checked(In * Out)];
        if (!Transposed)
            packed.Slice(checked(Start * In), slice.Length).CopyTo(slice);
        for (var row = 0; Transposed && row < In; row++)
            packed.Slice(checked(row * StoredOut + Start), Out).CopyTo(slice.AsSpan(row * Out));
        return slice;
    }

    /// <summary>Writes the slice into <paramref name="packed"/>.</summary>
    public void Put<T>(ReadOnlySpan<T> slice, Span<T> packed)
    {
        if (!Transposed)
            slice.CopyTo(packed.Slice(checked(Start * In), slice.Length));
        for (var row = 0; Transposed && row < In; row++)
            slice.Slice(row * Out, Out).CopyTo(packed[checked(row * StoredOut + Start)..]);
    }
}
