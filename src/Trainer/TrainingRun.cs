using SorsaOrt.Artifacts;
using SorsaOrt.Engines;

namespace SorsaOrt.Trainer;

/// <summary>A run folder with everything opened that training needs: <see cref="Start"/> or <see cref="Resume"/>, then <see cref="Execute"/>.</summary>
/// <remarks>
/// RUN holds run.json, metrics.jsonl and checkpoints/step-N. Order of writing at a save: metrics flushed, checkpoint renamed into its place,
/// older ones removed; so a killed run goes on from its newest checkpoint, and from the start where it had none yet. Of several ranks only the first
/// reads and writes the run folder; the others take what it read from it, and need the artifacts and the data where it has them.
/// </remarks>
public sealed class TrainingRun : IDisposable
{
    private readonly ITrainingEngine _engine;
    private readonly TrainingData _data;
    private readonly CheckpointStore _checkpoints;
    private readonly RunPosition _position;
    private readonly Ranks _ranks;
    private readonly List<string> _notes = [];

    private TrainingRun(string folder, RunRecord record, ITrainingEngine engine, TrainingData data, RunPosition position, Ranks ranks)
    {
        (Record, _engine, _data, _position, _ranks) = (record, engine, data, position, ranks);
        _checkpoints = new CheckpointStore(folder);
        _notes.AddRange(data.Notes());
        var schedule = record.Settings.Training.ScheduleOf(record.TotalSteps);
        if (schedule.Rate(record.TotalSteps - 1) == 0 && record.TotalSteps == 1)
            _notes.Add("the run's only step is the first of --warmup, whose learning rate is 0: nothing is trained; lower --accumulation, or give --warmup 0");
        else if (schedule.WarmupSteps >= record.TotalSteps)
            _notes.Add($"--warmup takes {schedule.WarmupSteps} steps and the run {record.TotalSteps}: the learning rate never reaches --lr");
        if (engine.Artifacts.Manifest.ComputeType == "f16" && record.Settings.Device == "cpu")
            _notes.Add("these artifacts compute in fp16, which the CPU has few kernels for: ONNX Runtime converts to fp32 and back around products. There --compute-dtype fp32 is the choice");
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
    /// <param name="ranks">The processes that train together; null: this one alone.</param>
    /// <exception cref="ConfigException">Options that do not make sense.</exception>
    /// <exception cref="OutputExistsException">The folder is in use.</exception>
    public static TrainingRun Start(RunSettings settings, string runFolder, bool force = false, Ranks? ranks = null)
    {
        ArgumentNullException.ThrowIfNull(settings);
        ranks ??= Ranks.Alone;
        Inputs? inputs = null;
        RunRecord? record = null;
        try
        {
            ranks.Together(() =>
            {
                settings.Validated();
                CheckShares(settings, ranks);
                if (ranks.IsFirst)
                    RefuseExisting(runFolder, force);
                var artifacts = ArtifactSet.Open(settings.Artifacts, Verification.Full);
                var resolved = settings with
                {
                    Device = DeviceOf(settings).ToString(),
                    Threads = settings.Threads > 0 ? settings.Threads : ranks.ShareOfProcessors,
                    PackWeights = settings.PackWeights ?? (settings.Engine == RunSettings.Ort && EngineOptions.PacksByDefault(artifacts)),
                };
                inputs = new Inputs(resolved, artifacts, path => path);
                record = new RunRecord
                {
                    Settings = resolved,
                    ManifestHash = inputs.Artifacts.Hash,
                    WorkingFolder = Environment.CurrentDirectory,
                    TotalSteps = settings.Training.MaxSteps ?? inputs.Data.Batches.TotalSteps(settings.Training.Epochs),
                    Inputs = inputs.Data.Inputs(resolved, path => path),
                    Environment = RunEnvironment.Current(),
                };
            });
            var own = record!;
            record = TakeFirst(ranks, own);
            ranks.Together(() =>
            {
                CheckArtifacts(record, inputs!.Artifacts, runFolder);
                CheckInputs(record, own.Inputs);
            });
            ranks.Together(() =>
            {
                if (!ranks.IsFirst)
                    return;
                RemoveRun(runFolder);
                record.Write(runFolder);
            });
            return new TrainingRun(runFolder, record, inputs!.Engine, inputs.Data, RunPosition.Begin(record.Settings, inputs.Artifacts.Manifest), ranks);
        }
        catch
        {
            inputs?.Dispose();
            throw;
        }
    }

    /// <summary>Opens a run to go on from its newest whole checkpoint, or from the start where it has none yet.</summary>
    /// <param name="runFolder">The run.</param>
    /// <param name="ranks">The processes that train together, as many as before or not; null: this one alone.</param>
    /// <param name="engine">The engine to go on with, by name; null: the one it was begun with. Another one goes on from the same parameters, moments and step, and rounds differently.</param>
    /// <exception cref="ArtifactMismatchException">The run, its artifacts or its data are damaged or not those it began with.</exception>
    public static TrainingRun Resume(string runFolder, Ranks? ranks = null, string? engine = null)
    {
        ranks ??= Ranks.Alone;
        var store = new CheckpointStore(runFolder);
        var hasCheckpoint = false;
        RunRecord? record = null;
        ranks.Together(() =>
        {
            if (!ranks.IsFirst)
                return;
            hasCheckpoint = store.List().Count > 0;
            record = RunRecord.Read(runFolder);
            if (hasCheckpoint && !record.Owns(store.NewestState().Options))
                throw new ArtifactMismatchException(store.Folder, $"The newest checkpoint in '{store.Folder}' is not of the run that '{RunRecord.FileName}' beside it describes. Put the run's own files back, or train anew.");
            CheckShares(record.Settings.On(engine).Validated(), ranks);
        });
        record = TakeFirst(ranks, record);
        Inputs? inputs = null;
        try
        {
            IReadOnlyList<string> warnings = [];
            RunPosition? position = null;
            ranks.Together(() =>
            {
                var artifacts = ArtifactSet.Open(record.Resolve(record.Settings.Artifacts), Verification.Full);
                CheckArtifacts(record, artifacts, store.RunFolder);
                inputs = new Inputs(record.Settings.On(engine), artifacts, record.Resolve);
                CheckInputs(record, inputs.Data.Inputs(record.Settings, record.Resolve));
                position = RunPosition.Begin(record.Settings, artifacts.Manifest);
                if (!ranks.IsFirst)
                    return;
                if (hasCheckpoint)
                {
                    using var checkpoint = store.OpenNewest(inputs.Artifacts, out warnings);
                    inputs.Engine.Load(checkpoint);
                    position = RunPosition.Of(checkpoint.State);
                }
                store.Sweep();
                store.RemoveAfter(inputs.Engine.Step);
            });
            position = TakeFirst(ranks, inputs!.Engine, position!);
            var run = new TrainingRun(runFolder, record, inputs.Engine, inputs.Data, position, ranks);
            run._notes.AddRange(warnings);
            if (engine is not null && engine != record.Settings.Engine)
                run._notes.Add($"the run was begun with --engine {record.Settings.Engine} and goes on with {engine}: from the same parameters and moments, but rounded differently");
            return run;
        }
        catch
        {
            inputs?.Dispose();
            throw;
        }
    }

    /// <summary>Trains to the end, or until <paramref name="stop"/> is cancelled: then the micro-batches since the last step are dropped and a checkpoint is saved.</summary>
    /// <exception cref="TrainingDivergedException">A loss or gradient is not finite; nothing of that step is saved.</exception>
    public TrainingOutcome Execute(Action<TrainingProgress>? progress = null, CancellationToken stop = default)
    {
        MetricsLog? metrics = null;
        _ranks.Together(() => metrics = _ranks.IsFirst ? OpenMetrics() : null);
        using (metrics)
            return new TrainingLoop(Record, _engine, _data, _checkpoints, _position, _ranks, metrics, progress ?? (_ => { })).Run(stop);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _engine.Dispose();
        _data.Dispose();
    }

    // Begun anew, the folder holds no metrics; resumed without a checkpoint, none of its lines count.
    private MetricsLog OpenMetrics() => MetricsLog.Open(Path.Combine(Folder, CheckpointFiles.Metrics), _checkpoints.List().Count == 0 ? -1 : _engine.Step);

    private static void CheckShares(RunSettings settings, Ranks ranks)
    {
        if (settings.Engine == RunSettings.OrtTraining && ranks.Count > 1)
            throw new ConfigException("--engine ort-training trains in one process: the official runtime does not hand its gradients out to be summed. Use --engine ort under mpirun.");
        if (settings.Training.Accumulation % ranks.Count != 0)
        {
            throw new ConfigException($"--accumulation {settings.Training.Accumulation} cannot be divided among {ranks.Count} ranks: it counts the micro-batches of a step over all of them, "
                + "and each takes as many. Give a multiple, or start another number of ranks.");
        }
    }

    private static RunRecord TakeFirst(Ranks ranks, RunRecord? record) =>
        ranks.Count == 1 ? record! : RunRecord.FromJson(ranks.TakeFirst(ranks.IsFirst ? record!.ToJson() : []));

    private static RunPosition TakeFirst(Ranks ranks, ITrainingEngine engine, RunPosition position)
    {
        if (ranks.Count == 1 || engine.State is not { } state)
            return position;
        ranks.TakeFirst(state);
        long[] numbers = [state.Step, .. position.ToNumbers()];
        ranks.TakeFirst(numbers);
        state.Step = numbers[0];
        return RunPosition.FromNumbers(numbers.AsSpan(1));
    }

    // A device that this build does not know or hold is a bad option, not a failure of the engine's work.
    private static Device DeviceOf(RunSettings settings)
    {
        try
        {
            return settings.Engine == RunSettings.OrtTraining ? Device.Cpu : Device.Parse(settings.Device);
        }
        catch (EngineException e)
        {
            throw new ConfigException("--device: " + e.Message, e);
        }
    }

    private static void CheckArtifacts(RunRecord record, ArtifactSet found, string runFolder)
    {
        if (found.Hash != record.ManifestHash)
            throw new ArtifactMismatchException(found.Folder, $"'{found.Folder}' is not what the run '{runFolder}' began with: its manifest has changed. Put the artifacts back, or train anew.");
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

    /// <summary>What a run reads, opened.</summary>
    private sealed class Inputs : IDisposable
    {
        public Inputs(RunSettings settings, ArtifactSet artifacts, Func<string, string> resolve)
        {
            Artifacts = artifacts;
            Data = TrainingData.Open(settings, Artifacts.Manifest, resolve);
            try
            {
                Engine = RunEngine.Open(settings, DeviceOf(settings), Artifacts);
            }
            catch
            {
                Data.Dispose();
                throw;
            }
        }

        public ArtifactSet Artifacts { get; }

        public TrainingData Data { get; }

        public ITrainingEngine Engine { get; }

        public void Dispose()
        {
            Engine.Dispose();
            Data.Dispose();
        }
    }
}
