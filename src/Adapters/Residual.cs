using System.Buffers;
using System.Numerics.Tensors;

namespace SorsaOrt.Adapters;

/// <summary>Splits a weight into adapter and frozen residual, and folds a trained adapter back.</summary>
/// <remarks>
/// Products and sums in float64, rounded to float32 once; a few rows at a time, so working memory is a few MB and the float64 factors.
/// Source and target may be the same memory.
/// </remarks>
public static class Residual
{
    private const int TileValues = 1 << 19;

    /// <summary>Wr = W − scale·B·diag(S)·A, in the layout of the weight.</summary>
    /// <param name="weight">W [out, in] row-major, or [in, out] where <paramref name="transposed"/>.</param>
    /// <param name="transposed">The weight is stored as Wᵀ.</param>
    /// <param name="factors">A, S, B.</param>
    /// <param name="scale">alpha/r, 1 without alpha.</param>
    /// <param name="residual">Wr, as long as the weight.</param>
    /// <param name="algebra">Library to compute with; null for <see cref="LinearAlgebra.Default"/>.</param>
    /// <exception cref="DecompositionException">A value of the residual is not finite in float32.</exception>
    public static void Compute(
        ReadOnlySpan<float> weight, bool transposed, SorsaFactors factors, double scale, Span<float> residual, LinearAlgebra? algebra = null) =>
        Add(weight, factors.OutFeatures, factors.InFeatures, transposed, factors.A, factors.S, factors.B, -scale, residual, "the residual weight", algebra);

    /// <summary>W = Wr + scale·B·diag(S)·A, in the layout of the residual: the reverse of Compute.</summary>
    /// <param name="residual">Wr [out, in] row-major, or [in, out] where <paramref name="transposed"/>.</param>
    /// <param name="transposed">The residual is stored as Wrᵀ.</param>
    /// <param name="factors">A, S, B.</param>
    /// <param name="scale">alpha/r, 1 without alpha.</param>
    /// <param name="weight">W, as long as the residual.</param>
    /// <param name="algebra">Library to compute with; null for <see cref="LinearAlgebra.Default"/>.</param>
    /// <exception cref="DecompositionException">A value of the weight is not finite in float32.</exception>
    public static void Fold(
        ReadOnlySpan<float> residual, bool transposed, SorsaFactors factors, double scale, Span<float> weight, LinearAlgebra? algebra = null) =>
        Add(residual, factors.OutFeatures, factors.InFeatures, transposed, factors.A, factors.S, factors.B, scale, weight, "the folded weight", algebra);

    /// <summary>Wr = W − scale·B·A of a two-factor adapter (LoRA, PiSSA).</summary>
    /// <inheritdoc cref="Compute(ReadOnlySpan{float}, bool, SorsaFactors, double, Span{float}, LinearAlgebra?)"/>
    public static void Compute(
        ReadOnlySpan<float> weight, bool transposed, LoraFactors factors, double scale, Span<float> residual, LinearAlgebra? algebra = null) =>
        Add(weight, factors.OutFeatures, factors.InFeatures, transposed, factors.A, [], factors.B, -scale, residual, "the residual weight", algebra);

    /// <summary>W = Wr + scale·B·A of a two-factor adapter (LoRA, PiSSA).</summary>
    /// <inheritdoc cref="Fold(ReadOnlySpan{float}, bool, SorsaFactors, double, Span{float}, LinearAlgebra?)"/>
    public static void Fold(
        ReadOnlySpan<float> residual, bool transposed, LoraFactors factors, double scale, Span<float> weight, LinearAlgebra? algebra = null) =>
        Add(residual, factors.OutFeatures, factors.InFeatures, transposed, factors.A, [], factors.B, scale, weight, "the folded weight", algebra);

    /// <summary>target = source + scale·B·diag(S)·A; an empty S stands for ones.</summary>
    private static void Add(
        ReadOnlySpan<float> source,
        int outFeatures,
        int inFeatures,
        bool transposed,
        ReadOnlySpan<float> a,
        ReadOnlySpan<float> s,
        ReadOnlySpan<float> b,
        double scale,
        Span<float> target,
        string what,
        LinearAlgebra? algebra)
    {
        ArgumentOutOfRangeException.ThrowIfNotEqual(source.Length, outFeatures * inFeatures);
        ArgumentOutOfRangeException.ThrowIfNotEqual(target.Length, source.Length);
        var rank = a.Length / inFeatures;
        var (rows, columns) = transposed ? (inFeatures, outFeatures) : (outFeatures, inFeatures);
        var left = new double[rows * rank];
        var right = new double[rank * columns];
        var scaledB = transposed ? new double[b.Length] : left;
        ScaleColumns(b, s, scale, rank, scaledB);
        if (transposed)
        {
            var wideA = new double[a.Length];
            TensorPrimitives.ConvertTruncating(a, wideA.AsSpan());
            MatrixLayout.Transpose<double>(wideA, rank, inFeatures, left);
            MatrixLayout.Transpose<double>(scaledB, outFeatures, rank, right);
        }
        else
        {
            TensorPrimitives.ConvertTruncating(a, right.AsSpan());
        }
        AddProduct(source, left, right, rows, columns, rank, target, algebra ?? LinearAlgebra.Default);
        NonFinite.Refuse(target, columns, what);
    }

    private static void AddProduct(
        ReadOnlySpan<float> source, double[] left, double[] right, int rows, int columns, int rank, Span<float> target, LinearAlgebra algebra)
    {
        var height = Math.Clamp(TileValues / columns, 1, rows);
        var rented = ArrayPool<double>.Shared.Rent(height * columns);
        for (var row = 0; row < rows; row += height)
        {
            var tileRows = Math.Min(height, rows - row);
            var sum = rented.AsSpan(0, tileRows * columns);
            TensorPrimitives.ConvertTruncating(source.Slice(row * columns, sum.Length), sum);
            algebra.Multiply(false, tileRows, columns, rank, left.AsSpan(row * rank, tileRows * rank), right, sum, accumulate: true);
            TensorPrimitives.ConvertTruncating<double, float>(sum, target.Slice(row * columns, sum.Length));
        }
        ArrayPool<double>.Shared.Return(rented);
    }

    private static void ScaleColumns(ReadOnlySpan<float> b, ReadOnlySpan<float> s, double scale, int rank, Span<double> scaled)
    {
        var factors = new double[rank];
        for (var j = 0; j < rank; j++)
            factors[j] = scale * (s.IsEmpty ? 1 : s[j]);
        TensorPrimitives.ConvertTruncating(b, scaled);
        for (var start = 0; start < scaled.Length; start += rank)
        {
            var row = scaled.Slice(start, rank);
            TensorPrimitives.Multiply(row, factors, row);
        }
    }
}
