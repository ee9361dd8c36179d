using System.Runtime.InteropServices;
using SorsaOrt.Adapters;
using SorsaOrt.Artifacts;
using SorsaOrt.Ir;
using SorsaOrt.Ir.Serialization;

namespace SorsaOrt.Merge;

/// <summary><c>sorsa merge</c>: folds trained parameters into the user's own model. Only the target weights change.</summary>
/// <remarks>
/// The artifacts keep the user's graph as it was (source_model.onnx) with its frozen tensors; the merged file is that graph with
/// W = Wr + scale·B·diag(S)·A in the place of each target weight, inline or external as the user's file had it. One weight is in memory at a time.
/// </remarks>
public sealed class ModelMerger
{
    private readonly ArtifactSet _artifacts;
    private readonly SafetensorsReader _parameters;
    private readonly ElementType? _type;

    private ModelMerger(ArtifactSet artifacts, SafetensorsReader parameters, ElementType? type) =>
        (_artifacts, _parameters, _type) = (artifacts, parameters, type);

    /// <summary>Writes the merged model.</summary>
    /// <param name="artifacts">The artifacts.</param>
    /// <param name="checkpoint">Trained parameters; null: those of the artifacts.</param>
    /// <param name="outputPath">Path of the merged model; external data files lie beside it under the names of the user's model.</param>
    /// <param name="type">Element type of the target weights; null keeps that of the user's model.</param>
    /// <param name="force">Replace existing files.</param>
    /// <param name="check">Called with the path of the finished but not yet placed model; what it throws ends the merge with nothing written.</param>
    /// <returns>Number of weights written.</returns>
    public static int Merge(ArtifactSet artifacts, Checkpoint? checkpoint, string outputPath, ElementType? type, bool force, Action<string>? check = null)
    {
        using var initial = checkpoint is null ? artifacts.OpenParameters() : null;
        return new ModelMerger(artifacts, checkpoint?.Parameters ?? initial!, type).Write(outputPath, force, check);
    }

    private int Write(string outputPath, bool force, Action<string>? check)
    {
        using var model = OnnxReader.Read(_artifacts.PathOf(ArtifactFiles.SourceModel));
        using var frozen = OnnxReader.Read(_artifacts.PathOf(ArtifactFiles.EvalModel));
        foreach (var targets in _artifacts.Manifest.Targets.GroupBy(t => t.WeightName, StringComparer.Ordinal))
            Replace(model.Graph, [.. targets], frozen.Graph);
        using var files = new StagedFiles(outputPath, force);
        var layout = new SourceLayout(_artifacts.Manifest, model.Graph);
        layout.WriteData(files);
        using (var stream = files.Create(Path.GetFileName(outputPath)))
        {
            OnnxWriter.Write(model, stream, layout.Place);
            stream.Complete();
        }
        files.Complete();
        check?.Invoke(Path.Combine(files.Folder, Path.GetFileName(outputPath)));
        files.Commit();
        return _artifacts.Manifest.Targets.Count;
    }

    // The targets of one stored weight: one that is all of it, or slices of a packed one.
    private void Replace(Graph graph, IReadOnlyList<TargetWeight> targets, Graph frozen)
    {
        var target = targets[0];
        var weight = graph.FindInitializer(target.WeightName)
            ?? throw new ArtifactMismatchException($"source_model.onnx has no initializer '{target.WeightName}' for {target.Module}; build the artifacts again.");
        var stored = weight.Constant!;
        var type = _type ?? stored.ElementType;
        float[] Folded() => target.SliceStart is null ? Fold(target, FrozenWeight(target, stored.Shape, frozen)) : FoldPacked(targets, stored, frozen);
        var merged = new ComputedTensor(type, stored.Shape, () => Encode(Folded(), type, target.Module));
        if (type == stored.ElementType)
        {
            graph.MakeInitializer(weight, merged);
            return;
        }
        // Stored in another type: the graph goes on computing in its own, behind a Cast.
        var narrow = graph.AddInitializer(graph.FreeName(weight.Name + "." + type.ShortName()), merged);
        var wide = graph.NewValue(graph.FreeName(weight.Name + ".cast"), weight.Type);
        weight.ReplaceAllUsesWith(wide, graph);
        var cast = graph.AddNode("Cast", [narrow], [wide], name: wide.Name);
        cast.Attributes["to"] = NodeAttribute.Of("to", (long)stored.ElementType);
        graph.RemoveInitializer(weight);
        graph.SortTopologically();
    }

    // A packed weight with the slices of its targets merged; the other slices are as the user's model has them.
    private float[] FoldPacked(IReadOnlyList<TargetWeight> targets, Tensor stored, Graph frozen)
    {
        var merged = stored.ToFloat32() ?? throw new ArtifactMismatchException($"'{targets[0].WeightName}' is {stored}, which cannot be merged; build the artifacts again.");
        var residual = FrozenWeight(targets[0], stored.Shape, frozen);
        foreach (var target in targets)
        {
            var (start, storedOut) = (target.SliceStart ?? -1, stored.Shape[target.Transposed ? 1 : 0]);
            if (start < 0 || start + target.Out > storedOut || stored.Shape[target.Transposed ? 0 : 1] != target.In)
                throw new ArtifactMismatchException($"{target.Module} is {target.Out} × {target.In} from {start} on, its weight {stored}; build the artifacts again.");
            var slice = new OutputSlice(target.Transposed, (int)target.In, (int)storedOut, (int)start, (int)target.Out);
            slice.Put<float>(Fold(target, residual is null ? null : slice.Take<float>(residual)), merged);
        }
        return merged;
    }

    // The frozen weight beside the adapters, whole; null for full fine-tuning, which has none.
    private float[]? FrozenWeight(TargetWeight target, IReadOnlyList<long> shape, Graph frozen)
    {
        if (_artifacts.Manifest.Method == TrainingMethod.Full)
            return null;
        var residual = frozen.FindInitializer(target.ResidualName)?.Constant
            ?? throw new ArtifactMismatchException($"eval_model.onnx has no residual '{target.ResidualName}' for {target.Module}; build the artifacts again.");
        if (!residual.Shape.SequenceEqual(shape))
            throw new ArtifactMismatchException($"the residual of {target.Module} is {residual}, its weight [{string.Join(',', shape)}]; build the artifacts again.");
        return residual.ToFloat32()
            ?? throw new ArtifactMismatchException($"the residual of {target.Module} is {residual}, which cannot be merged; build the artifacts again.");
    }

    // The merged weight of one target in the layout of the user's model; takes over the residual.
    private float[] Fold(TargetWeight target, float[]? weight)
    {
        var (rows, columns) = (checked((int)target.Out), checked((int)target.In));
        if (weight is null)
        {
            var trained = _parameters.ReadFloats(target.Module + ".weight");
            if (!target.Transposed)
                return trained;
            var turned = new float[trained.Length];
            MatrixLayout.Transpose<float>(trained, rows, columns, turned);
            return turned;
        }
        var (a, b) = (_parameters.ReadFloats(target.Module + ".A"), _parameters.ReadFloats(target.Module + ".B"));
        if (_artifacts.Manifest.Method == TrainingMethod.Sorsa)
            Residual.Fold(weight, target.Transposed, new SorsaFactors(target.Rank, rows, columns, a, _parameters.ReadFloats(target.Module + ".S"), b), target.Scale, weight);
        else
            Residual.Fold(weight, target.Transposed, new LoraFactors(target.Rank, rows, columns, a, b), target.Scale, weight);
        return weight;
    }

    private static byte[] Encode(float[] weight, ElementType type, string module)
    {
        if (type == ElementType.Float32)
            return MemoryMarshal.AsBytes(weight.AsSpan()).ToArray();
        var halves = new ushort[weight.Length];
        if (type == ElementType.Float16)
            FloatConversion.ToHalf(weight, MemoryMarshal.Cast<ushort, Half>(halves.AsSpan()));
        else if (type == ElementType.BFloat16)
            FloatConversion.ToBFloat16(weight, halves);
        else
            throw new UnsupportedGraphException($"{module}: a weight of {type.ShortName()} cannot be written yet; use --dtype fp32, fp16 or bf16");
        return MemoryMarshal.AsBytes(halves.AsSpan()).ToArray();
    }
}
