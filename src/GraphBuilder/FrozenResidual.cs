using System.Numerics.Tensors;
using System.Runtime.InteropServices;
using SorsaOrt.Adapters;
using SorsaOrt.Ir;

namespace SorsaOrt.GraphBuilder;

/// <summary>What quantising a residual lost, as shares.</summary>
/// <param name="OfResidual">|Wr − Wr'| / |Wr|, Frobenius norms.</param>
/// <param name="OfWeight">|Wr − Wr'| / |W|.</param>
public readonly record struct ResidualLoss(double OfResidual, double OfWeight);

/// <summary>The frozen weight of one target, as it is stored.</summary>
/// <param name="Stored">float[], or the bytes of another type; in the layout of the stored weight, [out, in] where it is quantised.</param>
/// <param name="Scales">Scales of its blocks, f32 [out, ceil(in / <see cref="QuantizedMatrix.Block"/>)], or null.</param>
/// <param name="Loss">What quantising lost, or null.</param>
/// <remarks>
/// A residual of floats stands in the place of its weight. A quantised one is a pair of initializers of its own, named by the module: packed
/// weights are taken apart by it, and the user's weight stays beside it for merge.
/// </remarks>
internal sealed record FrozenResidual(Array Stored, byte[]? Scales, ResidualLoss? Loss)
{
    /// <summary>The bytes of <see cref="Stored"/>.</summary>
    public ReadOnlySpan<byte> Values => Bytes(Stored);

    /// <summary>Name of the initializer of a quantised residual.</summary>
    public static string NameOf(LinearSite site) => site.Module + ".Wr";

    /// <summary>Name of the initializer of its scales.</summary>
    public static string ScalesNameOf(LinearSite site) => site.Module + ".Wr.scales";

    /// <summary>Dimensions of the scales of a quantised residual.</summary>
    public static long[] ScalesShape(LinearSite site) => [site.Out, QuantizedMatrix.BlocksOf(site.In, QuantizedMatrix.Block)];

    /// <summary>Stores a residual in an element type.</summary>
    /// <param name="site">The Linear.</param>
    /// <param name="residual">Wr in the layout of the stored weight.</param>
    /// <param name="weightNorm">|W|, read where the type is an integer.</param>
    /// <param name="type">f32, f16, bf16, i8 or i4.</param>
    public static FrozenResidual Of(LinearSite site, float[] residual, double weightNorm, ElementType type)
    {
        if (!QuantizedMatrix.Takes(type))
            return new FrozenResidual(Encode(residual, type), null, null);
        var rows = residual;
        if (site.Transposed)
            MatrixLayout.Transpose<float>(residual, site.In, site.Out, rows = new float[residual.Length]);
        var quantized = QuantizedMatrix.Quantize(rows, site.Out, site.In, type);
        var difference = quantized.ToFloat32();
        TensorPrimitives.Subtract(rows, difference, difference);
        var (lost, size) = (FrobeniusNorm.Of(difference), FrobeniusNorm.Of(rows));
        return new FrozenResidual(quantized.Elements.ToArray(), quantized.ScaleBytes(), new ResidualLoss(Share(lost, size), Share(lost, weightNorm)));
    }

    /// <summary>A weight in an element type: the array itself where it is float32, else the bytes of another.</summary>
    public static Array Encode(float[] residual, ElementType type) => type switch
    {
        ElementType.Float32 => residual,
        ElementType.Float16 => FloatConversion.HalfBytes(residual),
        _ => FloatConversion.BFloat16Bytes(residual),
    };

    /// <summary>The bytes of what <see cref="Encode"/> gave.</summary>
    public static Span<byte> Bytes(Array encoded) => encoded is float[] floats ? MemoryMarshal.AsBytes(floats.AsSpan()) : (byte[])encoded;

    private static double Share(double part, double whole) => whole > 0 ? part / whole : 0;
}
