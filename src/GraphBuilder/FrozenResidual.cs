using System.Numerics.Tensors;
using System.Runtime.InteropServices;
using SorsaOrt.Adapters;
using SorsaOrt.Ir;

namespace SorsaOrt.GraphBuilder;

/// <summary>What quantising a residual lost, as shares.</summary>
/// <param name="OfResidual">|Wr − Wr'| / |Wr|, Frobenius norms.</param>
/// <param name="OfWeight">|Wr − Wr'| / |W|.</param>
public readonly record struct ResidualLoss(double OfResidual, double OfWeight);

/// <summary>An initializer that the graphs get for a target, beside the model's own.</summary>
/// <param name="Name">Its name.</param>
/// <param name="Type">Element type.</param>
/// <param name="Shape">Dimensions.</param>
/// <param name="Data">float[], or the bytes of another type; null in a plan.</param>
internal sealed record FrozenPart(string Name, ElementType Type, long[] Shape, Array? Data);

/// <summary>The frozen weight of one target, as bytes.</summary>
/// <param name="InPlace">What stands in the place of the weight, in its layout; null where it has initializers of its own, or stays as it is.</param>
/// <param name="Parts">Initializers of its own.</param>
/// <param name="Loss">What quantising lost, or null.</param>
/// <remarks>
/// A residual of floats stands in the place of a weight of floats. A quantised one, and any of a weight that arrived quantised, has initializers of its
/// own, named by the module: packed weights are taken apart by it, and the user's weight stays beside it for merge. A weight that arrived quantised
/// stays frozen as it is unless another type is asked for; then the factors that training starts with are frozen beside it, to be subtracted.
/// </remarks>
internal sealed record FrozenResidual(Array? InPlace, IReadOnlyList<FrozenPart> Parts, ResidualLoss? Loss)
{
    /// <summary>Name of the initializer of a residual of its own.</summary>
    public static string NameOf(LinearSite site) => site.Module + ".Wr";

    /// <summary>Name of the initializer of its scales.</summary>
    public static string ScalesNameOf(LinearSite site) => site.Module + ".Wr.scales";

    /// <summary>Name of A₀ [r, in], which a stored weight has subtracted.</summary>
    public static string StartA(LinearSite site) => site.Module + ".A0";

    /// <summary>Name of B₀·diag(S₀) [out, r].</summary>
    public static string StartB(LinearSite site) => site.Module + ".B0";

    /// <summary>Stores a residual in an element type.</summary>
    /// <param name="site">The Linear.</param>
    /// <param name="residual">Wr in the layout of the stored weight.</param>
    /// <param name="weightNorm">|W|, read where the type is an integer.</param>
    /// <param name="type">f32, f16, bf16, i8 or i4.</param>
    public static FrozenResidual Of(LinearSite site, float[] residual, double weightNorm, ElementType type)
    {
        if (!HasParts(site, type))
            return new FrozenResidual(Encode(residual, type), [], null);
        var rows = residual;
        if (site.Transposed)
            MatrixLayout.Transpose<float>(residual, site.In, site.Out, rows = new float[residual.Length]);
        var parts = PartsOf(site, type).ToArray();
        if (!QuantizedMatrix.Takes(type))
            return new FrozenResidual(null, [parts[0] with { Data = Encode(rows, type) }], null);
        var quantized = QuantizedMatrix.Quantize(rows, site.Out, site.In, type);
        var difference = quantized.ToFloat32();
        TensorPrimitives.Subtract(rows, difference, difference);
        var (lost, size) = (FrobeniusNorm.Of(difference), FrobeniusNorm.Of(rows));
        return new FrozenResidual(null, [parts[0] with { Data = quantized.Elements.ToArray() }, parts[1] with { Data = quantized.ScaleBytes() }],
            new ResidualLoss(Share(lost, size), Share(lost, weightNorm)));
    }

    /// <summary>The weight stays as it is stored; training subtracts the factors it starts with.</summary>
    /// <param name="site">The Linear.</param>
    /// <param name="a">A₀ [r, in].</param>
    /// <param name="s">S₀ [r]; null for ones.</param>
    /// <param name="b">B₀ [out, r].</param>
    public static FrozenResidual StoredWithout(LinearSite site, float[] a, float[]? s, float[] b)
    {
        var (rank, scaled) = (a.Length / site.In, b);
        if (s is not null)
        {
            scaled = new float[b.Length];
            for (var i = 0; i < b.Length; i += rank)
                TensorPrimitives.Multiply(b.AsSpan(i, rank), s, scaled.AsSpan(i, rank));
        }
        var parts = StartParts(site, rank).ToArray();
        return new FrozenResidual(null, [parts[0] with { Data = a }, parts[1] with { Data = scaled }], null);
    }

    /// <summary>The initializers of its own that a target will have, without data.</summary>
    public static IEnumerable<FrozenPart> Planned(LinearSite site, BuildOptions options) =>
        options.Method == AdapterMethod.Full ? []
        : options.ResidualOf(site) is { } type ? HasParts(site, type) ? PartsOf(site, type) : []
        : options.Method == AdapterMethod.Lora ? [] : StartParts(site, options.Rank);

    /// <summary>The residual of its own of a target as floats [out, in]; null where it has none.</summary>
    public static Value? Find(Graph graph, OpBuilder op, LinearSite site) =>
        graph.FindInitializer(NameOf(site)) is not { } values ? null
        : !QuantizedMatrix.Takes(values.ElementType) ? op.Cast(values, ElementType.Float32)
        : op.Emit("DequantizeLinear", [values, graph.FindInitializer(ScalesNameOf(site))!], NodeAttribute.Of("axis", 1), NodeAttribute.Of("block_size", QuantizedMatrix.Block));

    /// <summary>A weight in an element type: the array itself where it is float32, else the bytes of another.</summary>
    public static Array Encode(float[] residual, ElementType type) => type switch
    {
        ElementType.Float32 => residual,
        ElementType.Float16 => FloatConversion.HalfBytes(residual),
        _ => FloatConversion.BFloat16Bytes(residual),
    };

    /// <summary>The bytes of what <see cref="Encode"/> gave.</summary>
    public static Span<byte> Bytes(Array encoded) => encoded is float[] floats ? MemoryMarshal.AsBytes(floats.AsSpan()) : (byte[])encoded;

    private static bool HasParts(LinearSite site, ElementType type) => site.IsQuantized || QuantizedMatrix.Takes(type);

    private static IEnumerable<FrozenPart> PartsOf(LinearSite site, ElementType type)
    {
        yield return new FrozenPart(NameOf(site), type, [site.Out, site.In], null);
        if (QuantizedMatrix.Takes(type))
            yield return new FrozenPart(ScalesNameOf(site), ElementType.Float32, [site.Out, QuantizedMatrix.BlocksOf(site.In, QuantizedMatrix.Block)], null);
    }

    private static IEnumerable<FrozenPart> StartParts(LinearSite site, int rank) =>
    [
        new FrozenPart(StartA(site), ElementType.Float32, [rank, site.In], null),
        new FrozenPart(StartB(site), ElementType.Float32, [site.Out, rank], null),
    ];

    private static double Share(double part, double whole) => whole > 0 ? part / whole : 0;
}
