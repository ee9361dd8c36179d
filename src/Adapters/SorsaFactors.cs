using System.Globalization;
using System.Numerics.Tensors;

namespace SorsaOrt.Adapters;

/// <summary>The trainable factors of one Linear y = x·Wᵀ, W [out, in]: W's principal part is B·diag(S)·A.</summary>
/// <remarks>
/// A [r, in] right singular vectors as rows, S [r] singular values descending, B [out, r] left singular vectors as columns; all row-major
/// float32. In the paper's letters (arXiv 2409.00055) B = U_p and A = V_pᵀ.
/// </remarks>
/// <param name="Rank">r, 1 to min(out, in).</param>
/// <param name="OutFeatures">Rows of W.</param>
/// <param name="InFeatures">Columns of W.</param>
/// <param name="A">[r, in], ‖A·Aᵀ − I‖_F at most 1e-6·r after a decomposition.</param>
/// <param name="S">[r].</param>
/// <param name="B">[out, r], ‖Bᵀ·B − I‖_F at most 1e-6·r after a decomposition.</param>
public sealed record SorsaFactors(int Rank, int OutFeatures, int InFeatures, float[] A, float[] S, float[] B)
{
    /// <summary>Largest ‖A·Aᵀ − I‖_F and ‖Bᵀ·B − I‖_F accepted from a decomposition, per rank.</summary>
    public const double OrthonormalityTolerancePerRank = 1e-6;

    /// <summary>The r largest singular values of W and their vectors.</summary>
    /// <param name="weight">W [out, in] row-major, or [in, out] where <paramref name="transposed"/>, as ONNX MatMul stores it.</param>
    /// <param name="outFeatures">Rows of W.</param>
    /// <param name="inFeatures">Columns of W.</param>
    /// <param name="transposed">The weight is stored as Wᵀ.</param>
    /// <param name="rank">r, 1 to min(out, in).</param>
    /// <param name="options">Method and its settings; null for the defaults.</param>
    /// <param name="algebra">Library to compute with; null for <see cref="LinearAlgebra.Default"/>.</param>
    /// <remarks>Same input, options, library and processor kind give the same bits. Directions without a singular value get an orthonormal completion and S = 0.</remarks>
    /// <exception cref="DecompositionException">NaN or infinity in the weight, a rank out of range, or a singular value beyond float32.</exception>
    public static SorsaFactors Decompose(
        ReadOnlySpan<float> weight,
        int outFeatures,
        int inFeatures,
        bool transposed,
        int rank,
        SvdOptions? options = null,
        LinearAlgebra? algebra = null)
    {
        options ??= new SvdOptions();
        ArgumentOutOfRangeException.ThrowIfNegative(options.Iterations);
        ArgumentOutOfRangeException.ThrowIfNegative(options.Oversampling);
        ArgumentOutOfRangeException.ThrowIfNotEqual(weight.Length, outFeatures * inFeatures);
        if (rank < 1 || rank > Math.Min(outFeatures, inFeatures))
        {
            throw new DecompositionException(string.Create(
                CultureInfo.InvariantCulture, $"rank {rank} is not between 1 and min(out, in) = {Math.Min(outFeatures, inFeatures)} of a weight [{outFeatures}, {inFeatures}]"));
        }
        var (rows, columns) = transposed ? (inFeatures, outFeatures) : (outFeatures, inFeatures);
        NonFinite.Refuse(weight, columns, "the weight");

        algebra ??= LinearAlgebra.Default;
        var factors = Once(weight, rows, columns, transposed, rank, options, algebra, out var fault);
        if (factors is null && algebra != LinearAlgebra.Managed)
            factors = Once(weight, rows, columns, transposed, rank, options, LinearAlgebra.Managed, out fault);
        return factors ?? throw new DecompositionException($"the SVD of a weight [{outFeatures}, {inFeatures}] failed: {fault}");
    }

    private static SorsaFactors? Once(
        ReadOnlySpan<float> weight, int rows, int columns, bool transposed, int rank, SvdOptions options, LinearAlgebra algebra, out string? fault)
    {
        TruncatedSvd svd;
        try
        {
            svd = options.UsesRandomized(rows, columns, rank)
                ? TruncatedSvd.Randomized(weight, rows, columns, rank, options, algebra)
                : TruncatedSvd.Exact(weight, rows, columns, rank, algebra);
        }
        catch (DecompositionException e)
        {
            fault = e.Message;
            return null;
        }
        if (svd.S[0] > float.MaxValue)
        {
            throw new DecompositionException(string.Create(
                CultureInfo.InvariantCulture, $"the weight's largest singular value {svd.S[0]:g6} exceeds float32; its values are too large to be an adapter's"));
        }
        var factors = transposed ? FromTransposed(svd, rows, columns, rank) : From(svd, rows, columns, rank);
        fault = Fault(factors);
        return fault is null ? factors : null;
    }

    private static SorsaFactors From(TruncatedSvd svd, int outFeatures, int inFeatures, int rank) =>
        new(rank, outFeatures, inFeatures, Round(svd.Vt), Round(svd.S), Round(svd.U));

    /// <summary>The stored matrix is Wᵀ = U·diag(s)·Vᵀ [in, out], so that A = Uᵀ and B = V; signs again by the rows of A.</summary>
    private static SorsaFactors FromTransposed(TruncatedSvd svd, int inFeatures, int outFeatures, int rank)
    {
        var a = new double[rank * inFeatures];
        var b = new double[outFeatures * rank];
        MatrixLayout.Transpose(svd.U, inFeatures, rank, a);
        for (var i = 0; i < rank; i++)
        {
            var row = a.AsSpan(i * inFeatures, inFeatures);
            if (row[TensorPrimitives.IndexOfMaxMagnitude<double>(row)] >= 0)
                continue;
            TensorPrimitives.Negate<double>(row, row);
            var other = svd.Vt.AsSpan(i * outFeatures, outFeatures);
            TensorPrimitives.Negate<double>(other, other);
        }
        MatrixLayout.Transpose(svd.Vt, rank, outFeatures, b);
        return new SorsaFactors(rank, outFeatures, inFeatures, Round(a), Round(svd.S), Round(b));
    }

    private static string? Fault(SorsaFactors factors)
    {
        if (NonFinite.Find(factors.A).Count + NonFinite.Find(factors.S).Count + NonFinite.Find(factors.B).Count > 0)
            return "its factors are not finite";
        var a = Orthonormality.RowDeviation(factors.A, factors.Rank, factors.InFeatures);
        var b = Orthonormality.ColumnDeviation(factors.B, factors.OutFeatures, factors.Rank);
        return Math.Max(a, b) <= OrthonormalityTolerancePerRank * factors.Rank
            ? null
            : string.Create(CultureInfo.InvariantCulture, $"its vectors are not orthonormal (‖AAᵀ−I‖ {a:g3}, ‖BᵀB−I‖ {b:g3})");
    }

    private static float[] Round(double[] values)
    {
        var rounded = new float[values.Length];
        TensorPrimitives.ConvertTruncating<double, float>(values, rounded);
        return rounded;
    }
}
