using System.Globalization;
using SorsaOrt.Adapters;
using SorsaOrt.Ir;

namespace SorsaOrt.GraphBuilder;

/// <summary>Where training of one target starts: its parameters and the weight that stays frozen beside them.</summary>
/// <param name="Site">The Linear.</param>
/// <param name="A">[r, in], or null.</param>
/// <param name="S">[r], or null.</param>
/// <param name="B">[out, r], or null.</param>
/// <param name="Weight">[out, in] for full fine-tuning, or null.</param>
/// <param name="Residual">The frozen weight, of a packed weight the target's slice; null where there is none, or it stays as it is stored.</param>
internal sealed record TargetStart(LinearSite Site, float[]? A, float[]? S, float[]? B, float[]? Weight, FrozenResidual? Residual)
{
    /// <summary>Computes the start of one target from its weight or from given factors.</summary>
    /// <exception cref="TargetException">The weight or the given factors cannot be used; the module is named.</exception>
    public static TargetStart Compute(LinearSite site, BuildOptions options, FactorFiles given, ulong seed)
    {
        var weight = site.ReadWeight();
        try
        {
            if (options.Method == AdapterMethod.Full)
                return FromWeight(site, weight, given);
            if (NonFinite.Find(weight) is { Count: > 0 } bad)
                throw new DecompositionException(string.Create(CultureInfo.InvariantCulture,
                    $"it holds {bad.Count} values that are not finite, the first at row {bad.First / Columns(site)}, column {bad.First % Columns(site)}"));
            return options.Method == AdapterMethod.Sorsa ? Sorsa(site, weight, options, given, seed) : TwoFactors(site, weight, options, given, seed);
        }
        catch (DecompositionException e)
        {
            throw new TargetException($"{site.Module}: the weight '{site.WeightName}' ({site.Weight.Constant}) cannot be decomposed: {e.Message}. "
                + "Repair the weight, or leave this module out with --targets.", e);
        }
    }

    private static TargetStart Sorsa(LinearSite site, float[] weight, BuildOptions options, FactorFiles given, ulong seed)
    {
        var r = options.Rank;
        var factors = given.Any
            ? new SorsaFactors(r, site.Out, site.In, given.Read(site.Module + ".A", r, site.In), given.Read(site.Module + ".S", r), given.Read(site.Module + ".B", site.Out, r))
            : SorsaFactors.Decompose(weight, site.Out, site.In, site.Transposed, r, options.Svd with { Seed = seed });
        var start = new TargetStart(site, factors.A, factors.S, factors.B, null, null);
        return start.Frozen(weight, options, given, () => Adapters.Residual.Compute(weight, site.Transposed, factors, options.Scale, weight));
    }

    private static TargetStart TwoFactors(LinearSite site, float[] weight, BuildOptions options, FactorFiles given, ulong seed)
    {
        var r = options.Rank;
        var factors = given.Any
            ? new LoraFactors(r, site.Out, site.In, given.Read(site.Module + ".A", r, site.In), given.Read(site.Module + ".B", site.Out, r))
            : options.Method == AdapterMethod.Lora ? LoraFactors.Lora(site.Out, site.In, r, seed)
            : LoraFactors.Pissa(SorsaFactors.Decompose(weight, site.Out, site.In, site.Transposed, r, options.Svd with { Seed = seed }), options.Scale);
        var start = new TargetStart(site, factors.A, null, factors.B, null, null);
        return start.Frozen(weight, options, given, () => Adapters.Residual.Compute(weight, site.Transposed, factors, options.Scale, weight));
    }

    // With its frozen part: the residual as given, or the weight as it is stored with the start beside it, or what is left of the weight without the start.
    private TargetStart Frozen(float[] weight, BuildOptions options, FactorFiles given, Action subtractStart)
    {
        var (norm, type, startsAtZero) = (NormOf(weight, options), options.ResidualOf(Site), options.Method == AdapterMethod.Lora);
        if (!TakeGivenResidual(Site, weight, given))
        {
            if (type is null)
                return startsAtZero ? this : this with { Residual = FrozenResidual.StoredWithout(Site, A!, S, B!) };
            if (!startsAtZero)
                subtractStart();
        }
        return this with { Residual = FrozenResidual.Of(Site, weight, norm, type ?? ElementType.Float32) };
    }

    private static TargetStart FromWeight(LinearSite site, float[] weight, FactorFiles given)
    {
        if (given.Has(site.Module + ".weight"))
            return new TargetStart(site, null, null, null, given.Read(site.Module + ".weight", site.Out, site.In), null);
        if (NonFinite.Find(weight) is { Count: > 0 } bad)
            throw new TargetException($"{site.Module}: the weight '{site.WeightName}' holds {bad.Count} values that are not finite, the first at element {bad.First}.");
        if (!site.Transposed)
            return new TargetStart(site, null, null, null, weight, null);
        var turned = new float[weight.Length];
        MatrixLayout.Transpose<float>(weight, site.In, site.Out, turned);
        return new TargetStart(site, null, null, null, turned, null);
    }

    // Given residuals are [out, in]; the graph wants the layout of the stored weight.
    private static bool TakeGivenResidual(LinearSite site, float[] weight, FactorFiles given)
    {
        if (!given.Has(site.Module + ".Wr"))
            return false;
        var residual = given.Read(site.Module + ".Wr", site.Out, site.In);
        if (site.Transposed)
            MatrixLayout.Transpose<float>(residual, site.Out, site.In, weight);
        else
            residual.CopyTo(weight, 0);
        return true;
    }

    // Before the residual takes the weight's place; only what quantising loses is told as a share of it.
    private static double NormOf(float[] weight, BuildOptions options) => options.ResidualType is { } type && QuantizedMatrix.Takes(type) ? FrobeniusNorm.Of(weight) : 0;

    private static int Columns(LinearSite site) => site.Transposed ? site.Out : site.In;
}
