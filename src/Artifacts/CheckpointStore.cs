using System.Globalization;

namespace SorsaOrt.Artifacts;

/// <summary>The checkpoints of one run: RUN/checkpoints/step-N.</summary>
public sealed class CheckpointStore
{
    private const string Prefix = "step-";

    /// <summary>For a run folder, which need not exist yet.</summary>
    public CheckpointStore(string runFolder)
    {
        RunFolder = Path.GetFullPath(runFolder);
        Folder = Path.Combine(RunFolder, CheckpointFiles.Folder);
    }

    /// <summary>Full path of the run.</summary>
    public string RunFolder { get; }

    /// <summary>Full path of the folder of checkpoints.</summary>
    public string Folder { get; }

    /// <summary>The checkpoint folders there are, oldest first, whole or not.</summary>
    public IReadOnlyList<(long Step, string Path)> List() =>
        !Directory.Exists(Folder) ? [] : [.. Directory.GetDirectories(Folder)
            .Select(path => (Step: StepOf(System.IO.Path.GetFileName(path)), Path: path))
            .Where(c => c.Step is not null)
            .Select(c => (c.Step!.Value, c.Path))
            .OrderBy(c => c.Value)];

    /// <summary>Path of the checkpoint of a step.</summary>
    public string PathOf(long step) => Path.Combine(Folder, Prefix + step.ToString(CultureInfo.InvariantCulture));

    /// <summary>Begins the checkpoint of a step; an older one of the same step is replaced when it is committed.</summary>
    public CheckpointWriter Begin(ArtifactSet artifacts, long step)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(step);
        return new CheckpointWriter(PathOf(step), artifacts, step);
    }

    /// <summary>Opens the newest whole checkpoint; damaged newer ones are passed over, each with a warning.</summary>
    /// <exception cref="ArtifactMismatchException">There is none, or every one is damaged, or the newest readable one belongs to other artifacts.</exception>
    public Checkpoint OpenNewest(ArtifactSet artifacts, out IReadOnlyList<string> warnings)
    {
        var damaged = new List<string>();
        warnings = damaged;
        foreach ((_, string path) in List().Reverse())
        {
            try
            {
                return Checkpoint.Open(path, artifacts);
            }
            catch (Exception e) when (e is IOException or ArtifactMismatchException { BelongsElsewhere: false })
            {
                damaged.Add(e.Message);
            }
        }
        throw NoneWhole(damaged);
    }

    /// <summary>The state of the newest checkpoint whose state.json is whole: for finding a run's artifacts and options before opening it.</summary>
    /// <exception cref="ArtifactMismatchException">There is none.</exception>
    public CheckpointState NewestState()
    {
        var damaged = new List<string>();
        foreach ((_, string path) in List().Reverse())
        {
            try
            {
                return Checkpoint.ReadState(Path.Combine(path, CheckpointFiles.State));
            }
            catch (ArtifactMismatchException e)
            {
                damaged.Add(e.Message);
            }
        }
        throw NoneWhole(damaged);
    }

    /// <summary>Opens what a user names: a run (its newest whole checkpoint) or one checkpoint folder (that one or an error).</summary>
    /// <param name="path">RUN or RUN/checkpoints/step-N.</param>
    /// <param name="artifacts">What it was trained from.</param>
    /// <param name="warn">Told in words of each damaged checkpoint that was passed over.</param>
    public static Checkpoint OpenNamed(string path, ArtifactSet artifacts, Action<string>? warn = null)
    {
        if (Directory.Exists(Path.Combine(path, CheckpointFiles.Folder)))
        {
            var newest = new CheckpointStore(path).OpenNewest(artifacts, out var warnings);
            foreach (var warning in warnings)
                warn?.Invoke(warning);
            return newest;
        }
        if (Directory.Exists(path) && !File.Exists(Path.Combine(path, CheckpointFiles.State)))
            throw new ArtifactMismatchException(path, $"{Text.Quote(path)} is neither a run nor a whole checkpoint: it holds no {CheckpointFiles.Folder}/ and no {CheckpointFiles.State}; give RUN or RUN/checkpoints/step-N.");
        return Checkpoint.Open(path, artifacts);
    }

    /// <summary>Removes all but the newest <paramref name="count"/> checkpoints; 0 keeps all. A checkpoint goes in one step: renamed, then deleted.</summary>
    public void KeepNewest(int count)
    {
        if (count <= 0)
            return;
        foreach ((_, string path) in List().SkipLast(count))
            Remove(path);
    }

    /// <summary>Removes checkpoints after a step: a resumed run writes them anew.</summary>
    public void RemoveAfter(long step)
    {
        foreach ((long found, string path) in List())
        {
            if (found > step)
                Remove(path);
        }
    }

    /// <summary>Removes what killed processes left unfinished in the run and among its checkpoints.</summary>
    public int Sweep() => Temporary.Sweep(RunFolder) + Temporary.Sweep(Folder);

    private static void Remove(string path)
    {
        string unfinished = Temporary.NameFor(path);
        Rename.Folder(path, unfinished);
        Temporary.Remove(unfinished);
        Temporary.Release(unfinished);
    }

    private static long? StepOf(string name) =>
        name.StartsWith(Prefix, StringComparison.Ordinal)
        && long.TryParse(name.AsSpan(Prefix.Length), NumberStyles.None, CultureInfo.InvariantCulture, out long step)
        && name == Prefix + step.ToString(CultureInfo.InvariantCulture) ? step : null;

    private ArtifactMismatchException NoneWhole(List<string> damaged) => new(Folder, damaged.Count == 0
        ? $"{Text.Quote(RunFolder)} holds no checkpoint yet; `sorsa train --resume` goes on with the run and saves one."
        : $"{Text.Quote(RunFolder)} holds no whole checkpoint: {string.Join(' ', damaged)}");
}
