using System.Collections.Concurrent;
using SorsaOrt.Adapters;
using SorsaOrt.Artifacts;
using SorsaOrt.Ir;
using SorsaOrt.Ir.Serialization;

namespace SorsaOrt.Merge;

/// <summary><c>sorsa merge</c>: folds trained parameters into the user's own model. Only the target weights change.</summary>
/// <remarks>
/// The artifacts keep the user's graph as it was (source_model.onnx) with its frozen tensors; the merged file is that graph with
/// W = Wr + scale·B·diag(S)·A in the place of each target weight, inline or external as the user's file had it. One weight is in memory at a time for each thread.
/// </remarks>
public sealed class ModelMerger
{
    private readonly ArtifactSet _artifacts;
    private readonly AdaptedWeights _weights;
    private readonly ElementType? _type;
    private readonly int _threads;

    private ModelMerger(ArtifactSet artifacts, AdaptedWeights weights, ElementType? type, int threads) =>
        (_artifacts, _weights, _type, _threads) = (artifacts, weights, type, threads);

    /// <summary>Writes the merged model.</summary>
    /// <param name="artifacts">The artifacts.</param>
    /// <param name="checkpoint">Trained parameters; null: those of the artifacts.</param>
    /// <param name="outputPath">Path of the merged model; external data files lie beside it under the names of the user's model, or under its own where those are taken by something else.</param>
    /// <param name="type">Element type of the target weights; null keeps that of the user's model.</param>
    /// <param name="force">Replace existing files.</param>
    /// <param name="check">Called with the path of the finished but not yet placed model; what it throws ends the merge with nothing written.</param>
    /// <param name="threads">Weights of external data folded side by side.</param>
    /// <returns>What was written.</returns>
    public static MergeReport Merge(
        ArtifactSet artifacts, Checkpoint? checkpoint, string outputPath, ElementType? type, bool force, Action<string>? check = null, int threads = 1) =>
        Merge(artifacts, checkpoint, outputPath, type, force, check, threads, SourceLayout.MostInside);

    internal static MergeReport Merge(
        ArtifactSet artifacts, Checkpoint? checkpoint, string outputPath, ElementType? type, bool force, Action<string>? check, int threads, long mostInside)
    {
        using var initial = artifacts.OpenParameters();
        using var frozen = OnnxReader.Read(artifacts.PathOf(ArtifactFiles.EvalModel));
        using var model = OnnxReader.Read(artifacts.PathOf(ArtifactFiles.SourceModel));
        var weights = new AdaptedWeights(artifacts.Manifest, checkpoint?.Parameters ?? initial, initial, frozen.Graph);
        return new ModelMerger(artifacts, weights, type, Math.Max(1, threads)).Write(model, outputPath, force, check, mostInside);
    }

    private MergeReport Write(Model model, string outputPath, bool force, Action<string>? check, long mostInside)
    {
        var costs = new ConcurrentDictionary<string, RequantizedTarget>(StringComparer.Ordinal);
        PutWeights(model.Graph, _artifacts.Manifest.Targets, _weights, _type, cost => costs[cost.Module] = cost);
        RefuseArtifacts(outputPath);
        using var files = new StagedFiles(outputPath, force);
        var layout = new SourceLayout(_artifacts, model.Graph, outputPath, force, mostInside);
        layout.WriteData(files, _threads);
        using (var stream = files.Create(Path.GetFileName(outputPath)))
        {
            OnnxWriter.Write(model, stream, layout.Place);
            stream.Complete();
        }
        files.Complete();
        check?.Invoke(Path.Combine(files.Folder, Path.GetFileName(outputPath)));
        var name = Path.GetFileName(files.FinalPath);
        string[] written = [.. files.Commit().OrderByDescending(f => f.Path == name).Select(f => Path.Combine(Path.GetDirectoryName(files.FinalPath)!, f.Path))];
        return new MergeReport(_artifacts.Manifest.Targets.Count, written, [.. _artifacts.Manifest.Targets.Select(t => costs.GetValueOrDefault(t.Module)).OfType<RequantizedTarget>()]);
    }

    /// <summary>Gives the initializers of targets their folded weights, computed when they are written.</summary>
    /// <param name="graph">The user's graph as the artifacts keep it.</param>
    /// <param name="targets">All targets of every weight that changes.</param>
    /// <param name="weights">What is folded.</param>
    /// <param name="type">Element type they are stored in; null keeps that of the graph.</param>
    /// <param name="told">Told what quantising again cost, as weights are written, on any thread.</param>
    internal static void PutWeights(Graph graph, IEnumerable<TargetWeight> targets, AdaptedWeights weights, ElementType? type, Action<RequantizedTarget>? told = null)
    {
        foreach (var sharing in targets.GroupBy(t => t.WeightName, StringComparer.Ordinal))
            Replace(graph, [.. sharing], weights, type, told);
    }

    // The files of the artifacts are what is merged from: --force does not replace them.
    private void RefuseArtifacts(string outputPath)
    {
        if (_artifacts.Contains(outputPath))
            throw new OutputExistsException($"'{outputPath}' lies in the artifacts that are merged; choose another output.");
    }

    // The targets of one stored weight: one that is all of it, or slices of a packed one.
    private static void Replace(Graph graph, IReadOnlyList<TargetWeight> targets, AdaptedWeights weights, ElementType? storedAs, Action<RequantizedTarget>? told)
    {
        var target = targets[0];
        var source = SourceWeight.Of(graph, target);
        var (weight, stored) = (source.Initializer, source.Data);
        float[] Folded() => Fold(targets, source, weights);
        if (source.Quantized is not null)
        {
            if (storedAs is { } floats)
                QuantizedTargets.PutFloats(graph, source, target, Folded, floats);
            else
                QuantizedTargets.PutQuantized(graph, source, targets, Folded, told);
            return;
        }
        var type = storedAs ?? stored.ElementType;
        var merged = new ComputedTensor(type, stored.Shape, () => Encode(Folded(), type, target.Module));
        if (type == stored.ElementType)
        {
            graph.MakeInitializer(weight, merged);
            return;
        }
        // Stored in another type: the graph goes on computing in its own, behind a Cast.
        var narrow = graph.AddInitializer(graph.FreeName(weight.Name + "." + type.ShortName()), merged);
        narrow.StoredAs = weight.Name;
        var wide = graph.NewValue(graph.FreeName(weight.Name + ".cast"), weight.Type);
        weight.ReplaceAllUsesWith(wide, graph);
        var cast = graph.AddNode("Cast", [narrow], [wide], name: wide.Name);
        cast.Attributes["to"] = NodeAttribute.Of("to", (long)stored.ElementType);
        graph.RemoveInitializer(weight);
        graph.SortTopologically();
    }

    /// <summary>The merged weight of the targets that share it, in the layout of the user's model.</summary>
    internal static float[] Fold(IReadOnlyList<TargetWeight> targets, SourceWeight source, AdaptedWeights weights) =>
        targets[0].SliceStart is null ? weights.Fold(targets[0], weights.Frozen(targets[0], source)) : FoldPacked(targets, source, weights);

    // A packed weight with the slices of its targets merged; the other slices are as the user's model has them.
    private static float[] FoldPacked(IReadOnlyList<TargetWeight> targets, SourceWeight source, AdaptedWeights weights)
    {
        var merged = source.ToFloat32();
        var packed = AdaptedWeights.HasOwnResidual(targets[0]) ? null : weights.Frozen(targets[0], source);
        foreach (var target in targets)
        {
            var slice = AdaptedWeights.Slice(target, source.Shape) ?? throw new ArtifactMismatchException($"{target.Module} is no slice of '{target.WeightName}', others are; build the artifacts again.");
            slice.Put<float>(weights.Fold(target, packed is null ? weights.Frozen(target, source) : slice.Take<float>(packed)), merged);
        }
        return merged;
    }

    internal static byte[] Encode(float[] weight, ElementType type, string module) => type switch
    {
        ElementType.Float32 => FloatConversion.FloatBytes(weight),
        ElementType.Float16 => FloatConversion.HalfBytes(weight),
        ElementType.BFloat16 => FloatConversion.BFloat16Bytes(weight),
        _ => throw new UnsupportedGraphException($"{module}: a weight of {type.ShortName()} cannot be written yet; use --dtype fp32, fp16 or bf16"),
    };
}
