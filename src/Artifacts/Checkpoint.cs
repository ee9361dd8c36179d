namespace SorsaOrt.Artifacts;

/// <summary>A checkpoint whose every byte has been checked, open for reading.</summary>
public sealed class Checkpoint : IDisposable
{
    private const string Advice = "resume from an older checkpoint, or train again.";

    private readonly IReadOnlyList<TrainedParameter> _layout;

    private Checkpoint(string path, CheckpointState state, ArtifactSet artifacts)
    {
        FolderPath = path;
        State = state;
        _layout = artifacts.Manifest.Parameters;
        Parameters = SafetensorsReader.Open(Path.Combine(path, CheckpointFiles.Parameters));
        try
        {
            Optimizer = SafetensorsReader.Open(Path.Combine(path, CheckpointFiles.Optimizer));
            ParameterFile.Check(Parameters, _layout, "");
            ParameterFile.Check(Optimizer, _layout, CheckpointFiles.FirstMoment, CheckpointFiles.SecondMoment);
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    /// <summary>Full path of the checkpoint's folder.</summary>
    public string FolderPath { get; }

    /// <summary>Where the run stood.</summary>
    public CheckpointState State { get; }

    /// <summary>The parameters by name.</summary>
    public SafetensorsReader Parameters { get; }

    /// <summary>Adam's moments by prefix and name.</summary>
    public SafetensorsReader Optimizer { get; }

    /// <summary>Opens a checkpoint folder and checks all of it against its own checksums and the artifacts it must belong to.</summary>
    /// <exception cref="ArtifactMismatchException">It is damaged, cut, of another version, or belongs to other artifacts; the file is named.</exception>
    public static Checkpoint Open(string path, ArtifactSet artifacts)
    {
        string full = Path.GetFullPath(path);
        if (!Directory.Exists(full))
            throw new ArtifactMismatchException(full, $"{Text.Quote(full)} is not a checkpoint: {(File.Exists(full) ? "it is a file" : "it does not exist")}; give RUN or RUN/checkpoints/step-N.");
        string statePath = Path.Combine(full, CheckpointFiles.State);
        CheckpointState state = ReadState(statePath);
        if (state.ManifestHash != artifacts.Hash)
            throw Foreign(statePath, state.ManifestHash, artifacts);
        ListedFiles.Check(full, state.Files, Verification.Full, Advice);
        try
        {
            return new Checkpoint(full, state, artifacts);
        }
        catch (SafetensorsFormatException e)
        {
            throw new ArtifactMismatchException(e.File ?? full, e.Message, e);
        }
    }

    /// <summary>Reads and checks state.json alone: for finding out which artifacts and options a run had.</summary>
    public static CheckpointState ReadState(string statePath)
    {
        (CheckpointState state, _) = SealedJson.Read<CheckpointState>(statePath, CheckpointState.CurrentVersion, Advice);
        List<string> problems = [.. ManifestCheck.FileProblems(state.Files)];
        if (state.Step < 0 || state.MicroBatchIndex < 0)
            problems.Add($"step {state.Step}, micro_batch_index {state.MicroBatchIndex}");
        problems.AddRange(CheckpointFiles.Required.Where(name => !state.Files.Any(f => f.Path == name)).Select(name => $"files: no {name}"));
        return problems.Count == 0 ? state
            : throw new ArtifactMismatchException(statePath, $"{Text.Quote(statePath)} holds values that cannot be: {string.Join("; ", problems.Take(5))}; {Advice}");
    }

    /// <summary>Streams the parameters into a flat buffer laid out as the manifest says.</summary>
    public void ReadParameters(FlatSink sink) => ParameterFile.Read(Parameters, _layout, sink);

    /// <summary>Streams Adam's moments into two flat buffers of the same layout.</summary>
    public void ReadMoments(FlatSink first, FlatSink second)
    {
        ParameterFile.Read(Optimizer, _layout, first, CheckpointFiles.FirstMoment);
        ParameterFile.Read(Optimizer, _layout, second, CheckpointFiles.SecondMoment);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        Parameters.Dispose();
        Optimizer?.Dispose();
    }

    private static ArtifactMismatchException Foreign(string statePath, string hash, ArtifactSet artifacts)
    {
        string message = $"{Text.Quote(statePath)} belongs to other artifacts (manifest {Short(hash)}) " +
            $"than {Text.Quote(artifacts.Folder)} (manifest {Short(artifacts.Hash)}); give the artifacts it was trained with.";
        return new ArtifactMismatchException(statePath, message) { BelongsElsewhere = true };
    }

    private static string Short(string hash) => hash.Length > 12 ? hash[..12] : hash;
}
