namespace SorsaOrt.Adapters;

/// <summary>Frobenius norm of a matrix, summed in double precision.</summary>
public static class FrobeniusNorm
{
    /// <summary>√(Σ x²).</summary>
    public static double Of(ReadOnlySpan<float> matrix) => Math.Sqrt(Squared(matrix));

    /// <summary>Σ x².</summary>
    public static double Squared(ReadOnlySpan<float> matrix)
    {
        var sum = 0.0;
        foreach (var value in matrix)
            sum += (double)value * value;
        return sum;
    }
}
