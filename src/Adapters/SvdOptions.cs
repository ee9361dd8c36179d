namespace SorsaOrt.Adapters;

/// <summary>How a weight is decomposed.</summary>
public enum SvdMethod
{
    /// <summary>Randomised where the matrix is large and the rank small beside it, else exact: see <see cref="SvdOptions.UsesRandomized"/>.</summary>
    Auto,

    /// <summary>Full thin SVD in float64.</summary>
    Exact,

    /// <summary>Randomised range finder with power iterations (Halko, Martinsson, Tropp, arXiv 0909.4061, algorithms 4.4 and 5.1).</summary>
    Randomized,
}

/// <summary>Options of the singular value decomposition.</summary>
public sealed record SvdOptions
{
    /// <summary>Up to this smaller dimension an exact float64 SVD costs seconds at most, so Auto never approximates there.</summary>
    public const int ExactUpTo = 1024;

    /// <summary>Exact, randomised, or the choice of <see cref="UsesRandomized"/>.</summary>
    public SvdMethod Method { get; init; } = SvdMethod.Auto;

    /// <summary>Power iterations of the randomised method, at least 0; each costs two products with the weight.</summary>
    public int Iterations { get; init; } = 4;

    /// <summary>Directions searched beyond the rank, at least 0.</summary>
    public int Oversampling { get; init; } = 16;

    /// <summary>Seed of the randomised method's test matrix.</summary>
    public ulong Seed { get; init; }

    /// <summary>Whether a weight [rows, columns] is decomposed by the randomised method.</summary>
    /// <remarks>
    /// Auto: min(rows, columns) above <see cref="ExactUpTo"/> and 2·(rank + oversampling) at most that minimum. The exact SVD costs about
    /// 20·min²·max operations, half of them bound by memory; the randomised one 4·(iterations + 1)·rank·min·max, nearly all in matrix products.
    /// </remarks>
    public bool UsesRandomized(int rows, int columns, int rank) => Method switch
    {
        SvdMethod.Exact => false,
        SvdMethod.Randomized => true,
        _ => Math.Min(rows, columns) > ExactUpTo && 2L * ((long)rank + Oversampling) <= Math.Min(rows, columns),
    };
}
