using System.Numerics.Tensors;
using SorsaOrt.Adapters;
using SorsaOrt.Artifacts;
using SorsaOrt.Ir;

namespace SorsaOrt.Merge.LoraDelta;

/// <summary>What training added to each target's original weight: D = B·diag(S)·A, of rank 2r (LoRA: r), scale within S.</summary>
/// <remarks>
/// A residual in float32 is W − scale·B₀·diag(S₀)·A₀ up to its last bit, and D follows from the factors before and after alone. One that was rounded
/// is not, and training went on from the rounded weight: there D is the nearest of its rank to merged − original. docs/decisions/0006.
/// </remarks>
internal sealed class TargetDeltas
{
    private readonly Manifest _manifest;
    private readonly SafetensorsReader _start;
    private readonly AdaptedWeights _trained;
    private readonly Graph _original;
    private double _changed;
    private double _kept;

    /// <summary>Deltas from the weights of <paramref name="original"/> to those that <paramref name="trained"/> makes of the residuals in <paramref name="frozen"/>.</summary>
    public TargetDeltas(Manifest manifest, SafetensorsReader start, SafetensorsReader trained, Graph frozen, Graph original)
    {
        (_manifest, _start, _original) = (manifest, start, original);
        _trained = new AdaptedWeights(manifest, trained, start, frozen);
    }

    /// <summary>‖merged − original − D‖ / ‖merged − original‖ over the targets computed so far: 0 where no residual was rounded.</summary>
    public double LeftOut => _changed > 0 ? Math.Sqrt(Math.Max(0, 1 - (_kept / _changed))) : 0;

    /// <summary>The rank of a target's delta.</summary>
    public int RankOf(TargetWeight target) => checked((int)Math.Min(IsLora ? target.Rank : 2L * target.Rank, Math.Min(target.In, target.Out)));

    /// <summary>The delta of one target.</summary>
    public SorsaFactors Of(TargetWeight target) => _manifest.ResidualType is not ("f32" or Manifest.StoredResidual) ? Nearest(target)
        : WeightDelta.Between(_trained.Factors(target), IsLora ? null : AdaptedWeights.Factors(_manifest, _start, target), target.Scale);

    private bool IsLora => _manifest.Method == TrainingMethod.Lora;

    private SorsaFactors Nearest(TargetWeight target)
    {
        var source = SourceWeight.Of(_original, target);
        var slice = AdaptedWeights.Slice(target, source.Shape);
        float[] Own(float[] weight) => slice is { } part ? part.Take<float>(weight) : weight;
        var residual = _trained.Frozen(target, source)!;
        var change = _trained.Fold(target, AdaptedWeights.HasOwnResidual(target) ? residual : Own(residual));
        TensorPrimitives.Subtract<float>(change, Own(source.ToFloat32()), change);
        var delta = SorsaFactors.Decompose(change, checked((int)target.Out), checked((int)target.In), target.Transposed, RankOf(target));
        _changed += FrobeniusNorm.Squared(change);
        _kept += FrobeniusNorm.Squared(delta.S);
        return delta;
    }
}
