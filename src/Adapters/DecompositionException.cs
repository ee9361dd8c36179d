namespace SorsaOrt.Adapters;

/// <summary>A weight cannot be decomposed, split or folded: its values, or the result's, are not finite or not usable.</summary>
/// <remarks>The caller knows the tensor's name and adds it.</remarks>
public sealed class DecompositionException : Exception
{
    /// <summary>A failure without a place.</summary>
    public DecompositionException(string message, Exception? inner = null) : base(message, inner)
    {
    }

    /// <summary>A failure with a count of values that are not finite and the flat index of the first.</summary>
    public DecompositionException(string message, long nonFiniteCount, long firstIndex) : base(message)
    {
        NonFiniteCount = nonFiniteCount;
        FirstIndex = firstIndex;
    }

    /// <summary>How many values are NaN or infinite; 0 where that is not the reason.</summary>
    public long NonFiniteCount { get; }

    /// <summary>Flat row-major index of the first such value as stored; -1 where there is none.</summary>
    public long FirstIndex { get; } = -1;
}
