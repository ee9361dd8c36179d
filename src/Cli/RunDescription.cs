using System.Globalization;
using SorsaOrt.Artifacts;
using SorsaOrt.Trainer;

namespace SorsaOrt.Cli;

/// <summary>A run folder in words: what was asked for and how far it came.</summary>
/// <param name="Step">Step of the newest checkpoint; 0 where there is none.</param>
/// <param name="TotalSteps">Optimizer steps of the whole run.</param>
/// <param name="Checkpoints">Steps of the checkpoints there are.</param>
/// <param name="Loss">Loss of the last step in metrics.jsonl.</param>
/// <param name="EvalLoss">Last evaluation loss there.</param>
/// <param name="ManifestHash">Of the artifacts that it trains.</param>
/// <param name="Settings">The run's settings.</param>
/// <param name="Inputs">The files it reads.</param>
internal sealed record RunDescription(long Step, long TotalSteps, IReadOnlyList<long> Checkpoints, double? Loss, double? EvalLoss, string ManifestHash,
    RunSettings Settings, IReadOnlyList<RunInput> Inputs)
{
    /// <summary>Reads run.json, the names of the checkpoints, and metrics.jsonl where there is one.</summary>
    public static RunDescription Of(string folder)
    {
        var record = RunRecord.Read(folder);
        long[] steps = [.. new CheckpointStore(folder).List().Select(c => c.Step)];
        var metrics = Path.Combine(folder, CheckpointFiles.Metrics);
        double? loss = null, evalLoss = null;
        foreach (var line in File.Exists(metrics) ? MetricsLog.Read(metrics) : [])
        {
            loss = line.TryGetProperty("loss", out var l) && l.TryGetDouble(out var number) ? number : loss;
            evalLoss = line.TryGetProperty("eval_loss", out var e) && e.TryGetDouble(out number) ? number : evalLoss;
        }
        return new RunDescription(steps.LastOrDefault(), record.TotalSteps, steps, loss, evalLoss, record.ManifestHash, record.Settings, record.Inputs);
    }

    /// <summary>For reading.</summary>
    public IEnumerable<string> Lines()
    {
        var t = Settings.Training;
        yield return string.Create(CultureInfo.InvariantCulture, $"run of {Settings.Artifacts} (manifest {ManifestHash[..12]}): step {Step} of {TotalSteps}")
            + (Loss is { } loss ? string.Create(CultureInfo.InvariantCulture, $", loss {loss:0.0000}") : "")
            + (EvalLoss is { } eval ? string.Create(CultureInfo.InvariantCulture, $", evaluation loss {eval:0.0000}") : "");
        yield return "  checkpoints: " + (Checkpoints.Count == 0 ? "none yet" : string.Join(", ", Checkpoints.Select(s => $"step-{s}")));
        foreach (var input in Inputs)
            yield return string.Create(CultureInfo.InvariantCulture, $"  {input.Role} {Printable.Text(input.Path)}, {input.Size:N0} bytes");
        yield return string.Create(CultureInfo.InvariantCulture,
            $"  {t.BatchSize} × {t.Accumulation} rows a step of up to {t.MaxLength} tokens{(t.Packing ? ", packed" : "")}, lr {t.LearningRate} {t.Schedule.ToString().ToLowerInvariant()}, warmup {t.Warmup}, gamma {t.Gamma}, seed {t.Seed}");
        yield return $"  device {Settings.Device}, {Settings.Threads} threads, engine {Settings.Engine}";
    }
}
