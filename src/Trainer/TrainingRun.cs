using SorsaOrt.Artifacts;
using SorsaOrt.Engines;

namespace SorsaOrt.Trainer;

/// <summary>A run folder with everything opened that training needs: <see cref="Start"/> or <see cref="Resume"/>, then <see cref="Execute"/>.</summary>
/// <remarks>
/// RUN holds run.json, metrics.jsonl and checkpoints/step-N. Order of writing at a save: metrics flushed, checkpoint renamed into its place,
/// older ones removed; so a killed run goes on from its newest checkpoint, and from the start where it had none yet.
/// </remarks>
public sealed class TrainingRun : IDisposable
{
    private readonly SessionEngine _engine;
    private readonly TrainingData _data;
    private readonly CheckpointStore _checkpoints;
    private readonly RunPosition _position;
    private readonly List<string> _notes = [];

    private TrainingRun(string folder, RunRecord record, SessionEngine engine, TrainingData data, RunPosition position)
    {
        (Record, _engine, _data, _position) = (record, engine, data, position);
        _checkpoints = new CheckpointStore(folder);
        _notes.AddRange(data.Notes());
    }

    /// <summary>Full path of the run.</summary>
    public string Folder => _checkpoints.RunFolder;

    /// <summary>What run.json holds.</summary>
    public RunRecord Record { get; }

    /// <summary>Things to tell the user: rows skipped, damaged checkpoints passed over.</summary>
    public IReadOnlyList<string> Notes => _notes;

    /// <summary>Optimizer steps done.</summary>
    public long Step => _engine.Step;

    /// <summary>Opens the inputs, checks all of them, and begins a run folder.</summary>
    /// <param name="settings">What to do.</param>
    /// <param name="runFolder">Where; it must not exist, be empty, or with <paramref name="force"/> be a run.</param>
    /// <param name="force">Whether a run already there is replaced.</param>
    /// <exception cref="ConfigException">Options that do not make sense.</exception>
    /// <exception cref="OutputExistsException">The folder is in use.</exception>
    public static TrainingRun Start(RunSettings settings, string runFolder, bool force = false)
    {
        ArgumentNullException.ThrowIfNull(settings);
        settings.Validated();
        RefuseExisting(runFolder, force);
        var device = DeviceOf(settings);
        var resolved = settings with { Device = device.ToString(), Threads = settings.Threads > 0 ? settings.Threads : Environment.ProcessorCount };
        var artifacts = ArtifactSet.Open(settings.Artifacts, Verification.Full);
        var data = TrainingData.Open(resolved, artifacts.Manifest, path => path);
        SessionEngine? engine = null;
        try
        {
            engine = SessionEngine.Open(artifacts, new EngineOptions { Device = device, Threads = resolved.Threads, PackWeights = resolved.PackWeights });
            var record = new RunRecord
            {
                Settings = resolved,
                ManifestHash = artifacts.Hash,
                WorkingFolder = Environment.CurrentDirectory,
                TotalSteps = settings.Training.MaxSteps ?? data.Batches.TotalSteps(settings.Training.Epochs),
                Inputs = data.Inputs(resolved, path => path),
                Environment = RunEnvironment.Current(),
            };
            RemoveRun(runFolder);
            record.Write(runFolder);
            return new TrainingRun(runFolder, record, engine, data, new RunPosition());
        }
        catch
        {
            engine?.Dispose();
            data.Dispose();
            throw;
        }
    }

    /// <summary>Opens a run to go on from its newest whole checkpoint, or from the start where it has none yet.</summary>
    /// <exception cref="ArtifactMismatchException">The run, its artifacts or its data are damaged or not those it began with.</exception>
    public static TrainingRun Resume(string runFolder)
    {
        var store = new CheckpointStore(runFolder);
        var hasCheckpoint = store.List().Count > 0;
        var record = RunRecord.Read(runFolder);
        if (hasCheckpoint && !record.Owns(store.NewestState().Options))
            throw new ArtifactMismatchException(store.Folder, $"The newest checkpoint in '{store.Folder}' is not of the run that '{RunRecord.FileName}' beside it describes. Put the run's own files back, or train anew.");
        var settings = record.Settings;
        var artifacts = ArtifactSet.Open(record.Resolve(settings.Artifacts), Verification.Full);
        if (artifacts.Hash != record.ManifestHash)
            throw new ArtifactMismatchException(artifacts.Folder, $"'{artifacts.Folder}' is not what the run '{store.RunFolder}' began with: its manifest has changed. Put the artifacts back, or train anew.");
        var data = TrainingData.Open(settings, artifacts.Manifest, record.Resolve);
        SessionEngine? engine = null;
        try
        {
            CheckInputs(record, data.Inputs(settings, record.Resolve));
            engine = SessionEngine.Open(artifacts, new EngineOptions { Device = DeviceOf(settings), Threads = settings.Threads, PackWeights = settings.PackWeights });
            IReadOnlyList<string> warnings = [];
            var position = new RunPosition();
            if (hasCheckpoint)
            {
                using var checkpoint = store.OpenNewest(artifacts, out warnings);
                engine.Load(checkpoint);
                position = RunPosition.Of(checkpoint.State);
            }
            store.Sweep();
            store.RemoveAfter(engine.Step);
            var run = new TrainingRun(runFolder, record, engine, data, position);
            run._notes.AddRange(warnings);
            return run;
        }
        catch
        {
            engine?.Dispose();
            data.Dispose();
            throw;
        }
    }

    /// <summary>Trains to the end, or until <paramref name="stop"/> is cancelled: then the micro-batches since the last step are dropped and a checkpoint is saved.</summary>
    /// <exception cref="TrainingDivergedException">A loss or gradient is not finite; nothing of that step is saved.</exception>
    public TrainingOutcome Execute(Action<TrainingProgress>? progress = null, CancellationToken stop = default)
    {
        // Begun anew, the folder holds no metrics; resumed without a checkpoint, none of its lines count.
        var lastStep = _checkpoints.List().Count == 0 ? -1 : _engine.Step;
        using var metrics = MetricsLog.Open(Path.Combine(Folder, CheckpointFiles.Metrics), lastStep);
        return new TrainingLoop(Record, _engine, _data, _checkpoints, _position, metrics, progress ?? (_ => { })).Run(stop);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _engine.Dispose();
        _data.Dispose();
    }

    // A device that this build does not know or hold is a bad option, not a failure of the engine's work.
    private static Device DeviceOf(RunSettings settings)
    {
        try
        {
            return Device.Parse(settings.Device);
        }
        catch (EngineException e)
        {
            throw new ConfigException("--device: " + e.Message, e);
        }
    }

    private static void CheckInputs(RunRecord record, IReadOnlyList<RunInput> found)
    {
        foreach (var expected in record.Inputs)
        {
            if (found.FirstOrDefault(f => f.Role == expected.Role) is not { } now || now.Sha256 != expected.Sha256)
            {
                throw new ArtifactMismatchException(expected.Path, $"{expected.Role} '{expected.Path}' has changed since the run began ({expected.Size} bytes, "
                    + $"sha256 {expected.Sha256[..12]}…, at that time). Put the file back to go on, or train anew.");
            }
        }
    }

    private static void RefuseExisting(string runFolder, bool force)
    {
        if (File.Exists(runFolder))
            throw new OutputExistsException($"'{runFolder}' is a file; give --out a folder for the run.");
        Temporary.Sweep(runFolder); // Of a run killed before it had begun.
        if (!Directory.Exists(runFolder) || !Directory.EnumerateFileSystemEntries(runFolder).Any())
            return;
        var isRun = File.Exists(Path.Combine(runFolder, RunRecord.FileName)) || Directory.Exists(Path.Combine(runFolder, CheckpointFiles.Folder));
        if (!isRun)
            throw new OutputExistsException($"'{runFolder}' holds other things than a run; choose another --out.");
        if (!force)
            throw new OutputExistsException($"'{runFolder}' holds a run already; go on with --resume, choose another --out, or give --force to replace it.");
    }

    private static void RemoveRun(string runFolder)
    {
        if (!Directory.Exists(runFolder))
            return;
        // First what makes it resumable, so that a half-removed run is never taken for a whole one.
        File.Delete(Path.Combine(runFolder, RunRecord.FileName));
        var checkpoints = Path.Combine(runFolder, CheckpointFiles.Folder);
        if (Directory.Exists(checkpoints))
            Directory.Delete(checkpoints, recursive: true);
        foreach (var name in (string[])[CheckpointFiles.Metrics, "report.html", "loss.png"])
            File.Delete(Path.Combine(runFolder, name));
    }
}
