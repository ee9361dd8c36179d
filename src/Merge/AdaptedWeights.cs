using SorsaOrt.Adapters;
using SorsaOrt.Artifacts;
using SorsaOrt.Ir;

namespace SorsaOrt.Merge;

/// <summary>The weights of targets as training left them: the frozen residual of the artifacts with the factors of a parameter file.</summary>
/// <param name="manifest">Describes the targets.</param>
/// <param name="parameters">A, S, B or weight of every target.</param>
/// <param name="start">The factors as built, which a weight that stays stored has subtracted.</param>
/// <param name="frozen">The graph of eval_model.onnx, which holds the residuals.</param>
internal sealed class AdaptedWeights(Manifest manifest, SafetensorsReader parameters, SafetensorsReader start, Graph frozen)
{
    /// <summary>The trained factors of a target; S is all ones for the methods without one.</summary>
    public SorsaFactors Factors(TargetWeight target) => Factors(manifest, parameters, target);

    /// <summary>The factors of a target in a parameter file; S is all ones for the methods without one.</summary>
    public static SorsaFactors Factors(Manifest manifest, SafetensorsReader parameters, TargetWeight target)
    {
        var (a, b) = (parameters.ReadFloats(target.Module + ".A"), parameters.ReadFloats(target.Module + ".B"));
        var s = manifest.Method == TrainingMethod.Sorsa ? parameters.ReadFloats(target.Module + ".S") : Ones(target.Rank);
        return new SorsaFactors(target.Rank, checked((int)target.Out), checked((int)target.In), a, s, b);
    }

    /// <summary>Where a target lies in a packed weight of that shape; null where it is the whole.</summary>
    public static OutputSlice? Slice(TargetWeight target, IReadOnlyList<long> shape)
    {
        if (target.SliceStart is not { } start)
            return null;
        var storedOut = shape[target.Transposed ? 1 : 0];
        if (start < 0 || start + target.Out > storedOut || shape[target.Transposed ? 0 : 1] != target.In)
            throw new ArtifactMismatchException($"{target.Module} is {target.Out} × {target.In} from {start} on, its weight [{string.Join(',', shape)}]; build the artifacts again.");
        return new OutputSlice(target.Transposed, (int)target.In, (int)storedOut, (int)start, (int)target.Out);
    }

    /// <summary>Whether a target of a packed weight has a residual of its own, as quantised ones are, and no slice of a packed one.</summary>
    public static bool HasOwnResidual(TargetWeight target) => target.ResidualName != target.WeightName;

    /// <summary>The frozen weight beside the adapters, whole; of a target with a residual of its own the target's; null for full fine-tuning, which has none.</summary>
    /// <param name="target">The target.</param>
    /// <param name="source">Its weight in the user's model.</param>
    public float[]? Frozen(TargetWeight target, SourceWeight source)
    {
        if (manifest.Method == TrainingMethod.Full)
            return null;
        if (target.StaysStored == true)
            return source.ToFloat32();
        var residual = frozen.FindInitializer(target.ResidualName)?.Constant
            ?? throw new ArtifactMismatchException($"eval_model.onnx has no residual '{target.ResidualName}' for {target.Module}; build the artifacts again.");
        if (HasOwnResidual(target))
            return OwnResidual(target, residual);
        if (!residual.Shape.SequenceEqual(source.Shape))
            throw new ArtifactMismatchException($"the residual of {target.Module} is {residual}, its weight {source.Data}; build the artifacts again.");
        return residual.ToFloat32()
            ?? throw new ArtifactMismatchException($"the residual of {target.Module} is {residual}, which cannot be merged; build the artifacts again.");
    }

    /// <summary>The merged weight of one target in the layout of the user's model; takes over the residual.</summary>
    public float[] Fold(TargetWeight target, float[]? residual)
    {
        if (residual is null)
            return AsStored(target, parameters.ReadFloats(target.Module + ".weight"));
        var factors = Factors(target);
        if (target.StaysStored == true && manifest.Method != TrainingMethod.Lora)
            factors = Without(factors, Factors(manifest, start, target));
        Residual.Fold(residual, target.Transposed, factors, target.Scale, residual);
        return residual;
    }

    // B·diag(S)·A − B₀·diag(S₀)·A₀ as one product: where nothing was trained it is nothing.
    private static SorsaFactors Without(SorsaFactors trained, SorsaFactors start)
    {
        var (rank, both) = (trained.Rank, trained.Rank + start.Rank);
        var b = new float[trained.OutFeatures * both];
        for (var row = 0; row < trained.OutFeatures; row++)
        {
            trained.B.AsSpan(row * rank, rank).CopyTo(b.AsSpan(row * both));
            start.B.AsSpan(row * start.Rank, start.Rank).CopyTo(b.AsSpan(row * both + rank));
        }
        return new SorsaFactors(both, trained.OutFeatures, trained.InFeatures, [.. trained.A, .. start.A], [.. trained.S, .. start.S.Select(s => -s)], b);
    }

    // A residual of its own [out, in], in the layout of the user's weight.
    private float[] OwnResidual(TargetWeight target, Tensor residual)
    {
        if (residual.ElementType.IsFloat() && residual.Shape.SequenceEqual([target.Out, target.In]))
            return AsStored(target, residual.ToFloat32()!);
        var scales = frozen.FindInitializer(target.ResidualName + ".scales")?.Constant;
        if (scales is null || !residual.Shape.SequenceEqual([target.Out, target.In]))
            throw new ArtifactMismatchException($"the residual of {target.Module}, {target.Out} × {target.In}, is {residual} with scales {scales?.ToString() ?? "missing"}; build the artifacts again.");
        return AsStored(target, QuantizedMatrix.Of(residual, scales, null, 1, QuantizedMatrix.Block).ToFloat32());
    }

    // A weight [out, in] in the layout of the user's.
    private static float[] AsStored(TargetWeight target, float[] rows)
    {
        if (!target.Transposed)
            return rows;
        var turned = new float[rows.Length];
        MatrixLayout.Transpose<float>(rows, checked((int)target.Out), checked((int)target.In), turned);
        return turned;
    }

    private static float[] Ones(int count)
    {
        var ones = new float[count];
        Array.Fill(ones, 1);
        return ones;
    }
}
