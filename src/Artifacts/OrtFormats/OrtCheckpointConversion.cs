using System.Text;

namespace SorsaOrt.Artifacts.OrtFormats;

/// <summary>Checkpoints of a run as official ones and back: parameters, both moments, the count of steps, and where the run stood.</summary>
/// <remarks>
/// Where a run stood (state.json) travels as a string property, which the official runtime keeps; so ours, converted and converted back, is the same byte
/// for byte. A checkpoint that another program began has none: then it comes back with its parameters, moments and step alone.
/// </remarks>
public static class OrtCheckpointConversion
{
    /// <summary>The property.</summary>
    internal const string StateProperty = "sorsa_state";

    // What the runtime takes before it is told another one; it does not restore it.
    private const float InitialLearningRate = 1e-3f;

    /// <summary>Writes ours as an official one.</summary>
    /// <param name="checkpoint">Ours.</param>
    /// <param name="artifacts">Those it belongs to.</param>
    /// <param name="stream">Where to; stays the caller's.</param>
    /// <exception cref="IOException">All of it takes more than the 2 GiB of a FlatBuffers file.</exception>
    public static void Write(Checkpoint checkpoint, ArtifactSet artifacts, Stream stream)
    {
        ArgumentNullException.ThrowIfNull(checkpoint);
        ArgumentNullException.ThrowIfNull(artifacts);
        var layout = artifacts.Manifest.Parameters;
        string state = Encoding.UTF8.GetString(SealedJson.Serialize(checkpoint.State));
        var optimizer = checkpoint.State.Step == 0 ? null : new OrtOptimizerValues(checkpoint.State.Step, InitialLearningRate,
            ParameterFile.View(checkpoint.Optimizer, layout, CheckpointFiles.FirstMoment), ParameterFile.View(checkpoint.Optimizer, layout, CheckpointFiles.SecondMoment));
        OrtCheckpointWriter.Write(stream, layout, ParameterFile.View(checkpoint.Parameters, layout), optimizer, new Dictionary<string, string> { [StateProperty] = state });
    }

    /// <summary>Writes an official one as ours, RUN/checkpoints/step-N, and gives its path.</summary>
    /// <param name="official">Trained with the official runtime.</param>
    /// <param name="artifacts">Those it belongs to.</param>
    /// <param name="runFolder">RUN.</param>
    /// <exception cref="ArtifactMismatchException">It belongs to other artifacts.</exception>
    public static string Read(OrtCheckpoint official, ArtifactSet artifacts, string runFolder)
    {
        ArgumentNullException.ThrowIfNull(official);
        ArgumentNullException.ThrowIfNull(artifacts);
        var values = OrtCheckpointValues.Of(official, artifacts.Manifest.Parameters);
        var state = new CheckpointState();
        if (official.Property(StateProperty) is { } text)
        {
            state = SealedJson.Parse<CheckpointState>(Encoding.UTF8.GetBytes(text), official.Path, CheckpointState.CurrentVersion, "convert it anew.");
            if (state.MicroBatchIndex < 0)
                throw new ArtifactMismatchException(official.Path, $"{Text.Quote(official.Path)} says that its run has used {state.MicroBatchIndex} micro-batches; convert it anew.");
            if (state.ManifestHash != artifacts.Hash)
                throw new ArtifactMismatchException(official.Path, $"{Text.Quote(official.Path)} belongs to other artifacts than {Text.Quote(artifacts.Folder)}; give the artifacts it was trained with.");
        }
        using var writer = new CheckpointStore(runFolder).Begin(artifacts, values.Step);
        writer.WriteParameters(values.Parameters);
        writer.WriteMoments(values.FirstMoments, values.SecondMoments);
        writer.Commit(state);
        return writer.FinalPath;
    }
}
