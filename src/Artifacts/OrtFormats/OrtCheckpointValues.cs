namespace SorsaOrt.Artifacts.OrtFormats;

/// <summary>The trained parameters and AdamW's state of an official checkpoint as flat buffers, laid out as a manifest says, without a copy.</summary>
public sealed class OrtCheckpointValues
{
    private OrtCheckpointValues(long step, FlatView parameters, FlatView first, FlatView second) =>
        (Step, Parameters, FirstMoments, SecondMoments) = (step, parameters, first, second);

    /// <summary>Optimizer steps done.</summary>
    public long Step { get; }

    /// <summary>The parameters.</summary>
    public FlatView Parameters { get; }

    /// <summary>m; zeros where the optimizer has not stepped.</summary>
    public FlatView FirstMoments { get; }

    /// <summary>v; zeros where the optimizer has not stepped.</summary>
    public FlatView SecondMoments { get; }

    /// <summary>Views of a checkpoint's tensors, good as long as it is open.</summary>
    /// <param name="checkpoint">Any order of tensors; frozen ones are left out of account.</param>
    /// <param name="parameters">The layout.</param>
    /// <exception cref="ArtifactMismatchException">It holds other parameters, or no values; the tensor is named.</exception>
    public static OrtCheckpointValues Of(OrtCheckpoint checkpoint, IReadOnlyList<TrainedParameter> parameters)
    {
        ArgumentNullException.ThrowIfNull(checkpoint);
        if (checkpoint.IsNominal)
            throw Foreign(checkpoint, "it is nominal: names without values");
        var trained = checkpoint.Trainable.ToDictionary(t => t.Name, StringComparer.Ordinal);
        if (trained.Count != parameters.Count)
            throw Foreign(checkpoint, $"it holds {trained.Count} trainable parameters, the artifacts {parameters.Count}");
        var optimizer = checkpoint.Optimizer;
        bool hasMoments = optimizer is { FirstMoments.Count: > 0 };
        return new OrtCheckpointValues(optimizer?.Step ?? 0, View(checkpoint, parameters, trained, "parameter"),
            hasMoments ? View(checkpoint, parameters, optimizer!.FirstMoments, "first moment of") : Zeros,
            hasMoments ? View(checkpoint, parameters, optimizer!.SecondMoments, "second moment of") : Zeros);
    }

    private static FlatView View(OrtCheckpoint checkpoint, IReadOnlyList<TrainedParameter> parameters, IReadOnlyDictionary<string, OrtCheckpointTensor> tensors, string what)
    {
        OrtCheckpointTensor[] ordered = [.. parameters.Select(p => tensors.TryGetValue(p.Name, out var t) && t.Type == OrtCheckpointStructure.Float32 && t.Shape.SequenceEqual(p.Shape)
            ? t : throw Foreign(checkpoint, $"{what} {Text.Quote(p.Name)} {(t is null ? "is missing" : $"is of type {t.Type} [{string.Join(',', t.Shape)}]")}, F32 [{string.Join(',', p.Shape)}] is asked for"))];
        long[] starts = [.. parameters.Select(p => p.Offset)];
        return (offset, count) =>
        {
            int found = Array.BinarySearch(starts, offset);
            int index = found >= 0 ? found : ~found - 1;
            var rest = checkpoint.Floats(ordered[index])[checked((int)(offset - starts[index]))..];
            return rest[..Math.Min(count, rest.Length)];
        };
    }

    private static ReadOnlySpan<float> Zeros(long offset, int count) => Zero.AsSpan(0, Math.Min(count, Zero.Length));

    private static readonly float[] Zero = new float[1 << 12];

    private static ArtifactMismatchException Foreign(OrtCheckpoint checkpoint, string why) =>
        new(checkpoint.Path, $"{Text.Quote(checkpoint.Path)} does not belong to these artifacts: {why}.");
}
