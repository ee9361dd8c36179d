using System.Globalization;
using System.Numerics.Tensors;
using SorsaOrt.Adapters;
using SorsaOrt.Artifacts;
using SorsaOrt.Ir;
using SorsaOrt.Ir.Serialization;

namespace SorsaOrt.Merge;

/// <summary>Whether a merged file holds what was trained, told by its weights: where those went back into few bits, rounding alone moves logits as far as a mistake would.</summary>
/// <remarks>
/// Every target's weight W' is read back through the node that reads it and compared with W = Wr + scale·B·diag(S)·A, folded anew: it may be no further from W than W
/// quantised in that form is. Every other tensor is the source's byte for byte, and every other node as it was.
/// </remarks>
public static class WrittenWeights
{
    // Of the error that rounding makes, and of W: sums of another order decide a few roundings otherwise.
    private const double OfRounding = 1e-2;
    private const double OfWeight = 1e-5;

    /// <summary>What is wrong with a merged file, in words; null where nothing is.</summary>
    /// <param name="artifacts">What it was merged from.</param>
    /// <param name="checkpoint">Trained parameters; null: those of the artifacts.</param>
    /// <param name="path">The file.</param>
    public static string? Mistake(ArtifactSet artifacts, Checkpoint? checkpoint, string path)
    {
        using var initial = artifacts.OpenParameters();
        using var frozen = OnnxReader.Read(artifacts.PathOf(ArtifactFiles.EvalModel));
        using var source = OnnxReader.Read(artifacts.PathOf(ArtifactFiles.SourceModel));
        using var merged = OnnxReader.Read(path);
        var weights = new AdaptedWeights(artifacts.Manifest, checkpoint?.Parameters ?? initial, initial, frozen.Graph);
        // What may change: the targets' weights.
        var (before, after, changed) = (new HashSet<Node>(), new HashSet<Node>(), new HashSet<Value>());
        foreach (var targets in artifacts.Manifest.Targets.GroupBy(t => t.WeightName, StringComparer.Ordinal))
        {
            var (was, now) = (SourceWeight.Of(source.Graph, targets.First()), SourceWeight.Of(merged.Graph, targets.First()));
            changed.Add(was.Initializer);
            if (was.Quantized is { } old && now.Quantized is { } written)
            {
                before.Add(old.Reader);
                after.Add(written.Reader);
            }
            if (Mistake(weights, [.. targets], was, now) is { } mistake)
                return mistake;
        }
        // So may the scales and zero points that nothing but targets reads.
        bool IsOfTargets(Value part) => part.Uses.All(u => before.Contains(u.Node) || u.Node.OpType is "Cast" or "Identity" && IsOfTargets(u.Node.Output));
        foreach (var old in source.Graph.Initializers.Where(v => !changed.Contains(v) && !IsOfTargets(v)))
        {
            if (merged.Graph.FindInitializer(old.Name)?.Constant is not { } now || !AreSame(old.Constant!, now))
                return $"'{old.Name}' is no target and not what it was";
        }
        var nodes = source.Graph.Nodes.Select(n => n.ToString()).ToHashSet(StringComparer.Ordinal);
        return merged.Graph.Nodes.FirstOrDefault(n => !after.Contains(n) && !nodes.Contains(n.ToString())) is { } node ? $"node '{node.Name}' ({node.OpType}) is not what it was"
            : merged.Graph.Nodes.Count != source.Graph.Nodes.Count ? $"it has {merged.Graph.Nodes.Count} nodes and not {source.Graph.Nodes.Count}" : null;
    }

    private static string? Mistake(AdaptedWeights weights, IReadOnlyList<TargetWeight> targets, SourceWeight was, SourceWeight now)
    {
        if (!was.Shape.SequenceEqual(now.Shape))
            return $"{targets[0].Module} is [{string.Join(',', now.Shape)}] and not [{string.Join(',', was.Shape)}]";
        var trained = ModelMerger.Fold(targets, was, weights);
        var rounded = was.Quantized?.Read().WithValues(trained).ToFloat32() ?? Rounded(trained, was.Data.ElementType, targets[0].Module);
        var written = now.ToFloat32();
        TensorPrimitives.Subtract(rounded, trained, rounded);
        TensorPrimitives.Subtract(written, trained, written);
        var (off, expected, size) = (FrobeniusNorm.Of(written), FrobeniusNorm.Of(rounded), FrobeniusNorm.Of(trained));
        var (farthest, allowed, largest) = (Largest(written), Largest(rounded), Largest(trained));
        if (off <= (1 + OfRounding) * expected + OfWeight * size && farthest <= (1 + OfRounding) * allowed + OfWeight * largest)
            return null;
        return string.Create(CultureInfo.InvariantCulture,
            $"{targets[0].Module} is off from the trained weight by {off:g3} of {size:g4} (largest element {farthest:g3}), where rounding costs {expected:g3} (largest {allowed:g3})");
    }

    private static float Largest(float[] values) => MathF.Abs(TensorPrimitives.MaxMagnitude(values));

    private static float[] Rounded(float[] weight, ElementType type, string module) => new InMemoryTensor(type, [weight.Length], ModelMerger.Encode(weight, type, module)).ToFloat32()!;

    private static bool AreSame(Ir.Tensor a, Ir.Tensor b)
    {
        if (a.ElementType != b.ElementType || !a.Shape.SequenceEqual(b.Shape) || a.ByteLength != b.ByteLength)
            return false;
        var (left, right) = (new byte[1 << 16], new byte[1 << 16]);
        for (var offset = 0L; offset < a.ByteLength; offset += left.Length)
        {
            var length = (int)Math.Min(left.Length, a.ByteLength - offset);
            a.CopyTo(offset, left.AsSpan(0, length));
            b.CopyTo(offset, right.AsSpan(0, length));
            if (!left.AsSpan(0, length).SequenceEqual(right.AsSpan(0, length)))
                return false;
        }
        return true;
    }
}
