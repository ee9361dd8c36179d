using System.Diagnostics;
using System.Globalization;
using SorsaOrt.Artifacts;
using SorsaOrt.Data;
using SorsaOrt.Engines;

namespace SorsaOrt.Trainer;

/// <summary>The steps of a run, its evaluations and its checkpoints. One call of <see cref="Run"/> per object.</summary>
internal sealed class TrainingLoop
{
    private const int MostRowsNamed = 16;

    private readonly RunRecord _record;
    private readonly ITrainingEngine _engine;
    private readonly TrainingData _data;
    private readonly CheckpointStore _checkpoints;
    private readonly RunPosition _position;
    private readonly MetricsLog? _metrics;
    private readonly Ranks _ranks;
    private readonly Action<TrainingProgress> _progress;
    private readonly TrainingOptions _options;
    private readonly LearningRateSchedule _schedule;
    private readonly AdamWOptions _adamW;
    private readonly List<Batch> _batches;
    private readonly Batch _evalBatch = new();
    private readonly Stopwatch _elapsed = Stopwatch.StartNew();
    private readonly long _firstStep;
    private string? _checkpoint;
    private bool _isSaved;
    private double? _loss;
    private double? _evalLoss;
    private double _tokensPerSecond;

    /// <summary>The loop of an opened run; <paramref name="metrics"/> only where this rank writes.</summary>
    public TrainingLoop(RunRecord record, ITrainingEngine engine, TrainingData data, CheckpointStore checkpoints, RunPosition position, Ranks ranks, MetricsLog? metrics, Action<TrainingProgress> progress)
    {
        (_record, _engine, _data, _checkpoints, _position, _ranks, _metrics, _progress) = (record, engine, data, checkpoints, position, ranks, metrics, progress);
        _options = record.Settings.Training;
        _schedule = _options.ScheduleOf(record.TotalSteps);
        _adamW = _options.ToAdamW();
        _batches = [.. Enumerable.Range(0, _options.Accumulation / ranks.Count).Select(_ => new Batch())];
        _firstStep = engine.Step;
        _isSaved = ranks.Sum(1, sums => sums[0] = ranks.IsFirst && checkpoints.List().Count > 0 ? 1 : 0)[0] > 0;
        _checkpoint = _isSaved ? checkpoints.PathOf(engine.Step) : null;
    }

    private bool IsEarlyStopped => _options.EarlyStop > 0 && _position.WithoutImprovement >= _options.EarlyStop;

    /// <summary>Runs to the end or until asked to stop.</summary>
    public TrainingOutcome Run(CancellationToken stop)
    {
        while (true)
        {
            // First, so that an evaluation that an interruption cut short is made up for.
            if (IsEvaluationDue && !TryEvaluate(stop))
                return Interrupt();
            if (IsEarlyStopped || _engine.Step >= _record.TotalSteps)
                break;
            if (_options.SaveEvery > 0 && _engine.Step % _options.SaveEvery == 0 && _engine.Step > 0)
                Save();
            if (!TryStep(stop))
                return Interrupt();
        }
        Save();
        return Outcome(_engine.Step >= _record.TotalSteps ? TrainingEnd.Completed : TrainingEnd.EarlyStopped);
    }

    private bool IsEvaluationDue => _data.Evaluation is not null && _engine.Step > _position.LastEvaluated
        && (_engine.Step == _record.TotalSteps || _options.EvalEvery > 0 && _engine.Step % _options.EvalEvery == 0);

    /// <summary>One optimizer step; false where it was given up half-way because of a request to stop.</summary>
    private bool TryStep(CancellationToken stop)
    {
        var time = Stopwatch.StartNew();
        var counts = _ranks.Sum(2, sums =>
        {
            for (var i = 0; i < _batches.Count; i++)
            {
                _data.Batches.ReadMicroBatch(MicroBatch(i), _batches[i]);
                sums[0] += _batches[i].LabelCount;
                sums[1] += _batches[i].TokenCount;
            }
        });
        long labels = (long)counts[0], tokens = (long)counts[1];
        while (true)
        {
            if (TryAccumulate(labels, stop) is not { } losses)
                return false;
            if (_engine.State is { } state)
                _ranks.Sum(state.Gradients);
            var isMade = false;
            _ranks.Together(() => isMade = TryUpdate(losses, labels, tokens, time));
            if (isMade)
                return true;
        }
    }

    /// <summary>Sums, over the micro-batches of a step, of the losses and of the mean losses; null where it was given up because of a request to stop.</summary>
    private (double Sum, double OfMeans)? TryAccumulate(long labels, CancellationToken stop)
    {
        var losses = _ranks.Sum(3, sums =>
        {
            for (var i = 0; i < _batches.Count; i++)
            {
                if (stop.IsCancellationRequested)
                {
                    sums[2] = 1;
                    return;
                }
                var batch = _batches[i];
                var scale = _options.LossAverage == LossAverage.Tokens ? 1.0 / labels : 1.0 / ((double)_options.Accumulation * batch.LabelCount);
                var result = _engine.Accumulate(TrainingData.Tokens(batch) with { DropoutSeed = DropoutSeed(MicroBatch(i)) }, scale * (_position.Scaling?.Scale ?? 1));
                if (!double.IsFinite(result.LossSum))
                    throw Diverged("loss", result.LossSum, batch.Rows);
                sums[0] += result.LossSum;
                sums[1] += result.Mean;
            }
        });
        return losses[2] > 0 ? null : (losses[0], losses[1]);
    }

    /// <summary>Updates with the gradients of a step; false where they overflowed and are to be computed again with the loss scaled less. Every rank holds the same gradients, so all decide the same.</summary>
    private bool TryUpdate((double Sum, double OfMeans) losses, long labels, long tokens, Stopwatch time)
    {
        var rate = _schedule.Rate(_engine.Step);
        var update = _engine.Update(_position.Scaling is { } scaling ? _adamW with { LossScale = scaling.Scale } : _adamW, rate);
        if (!double.IsFinite(update.GradientNorm) && _position.Scaling?.TryHalve() == true)
            return false;
        if (!update.IsFinite)
            throw Diverged(double.IsFinite(update.GradientNorm) ? "regulariser" : "gradient norm", double.IsFinite(update.GradientNorm) ? update.OrthonormalityLoss : update.GradientNorm, RowsOfStep());
        _position.MicroBatches += _options.Accumulation;
        _isSaved = false;
        _loss = _options.LossAverage == LossAverage.Tokens ? losses.Sum / labels : losses.OfMeans / _options.Accumulation;
        Log(rate, update, labels, tokens, time.Elapsed.TotalSeconds);
        _position.Scaling?.StepMade();
        Report(null);
        return true;
    }

    /// <summary>Number of this rank's <paramref name="index"/>-th micro-batch of the step. Ranks take turns, since neighbours are of like length.</summary>
    private long MicroBatch(int index) => _position.MicroBatches + (long)index * _ranks.Count + _ranks.Rank;

    private int[] RowsOfStep() => [.. Enumerable.Range(0, _options.Accumulation).SelectMany(i => _data.Batches.ReadMicroBatch(_position.MicroBatches + i).Rows)];

    // A number of the run's seed and the micro-batch alone, so that a resumed run drops the same.
    private ulong DropoutSeed(long microBatch) => unchecked((ulong)_options.Seed * 0x9E3779B97F4A7C15 + (ulong)microBatch);

    private void Log(double rate, UpdateResult update, long labels, long tokens, double seconds)
    {
        _tokensPerSecond = tokens / Math.Max(seconds, 1e-9);
        _metrics?.Append(_engine.Step, json =>
        {
            json.WriteNumber("epoch", _data.Batches.EpochAt(_position.MicroBatches));
            json.WriteNumber("loss", _loss!.Value);
            json.WriteNumber("lr", rate);
            json.WriteNumber("grad_norm", update.GradientNorm);
            json.WriteNumber("ortho_loss", update.OrthonormalityLoss);
            json.WriteNumber("tokens", tokens);
            json.WriteNumber("label_tokens", labels);
            json.WriteNumber("tokens_per_second", Math.Round(_tokensPerSecond, 1));
            json.WriteNumber("seconds", Math.Round(seconds, 4));
            if (_position.Scaling is not { } scaling)
                return;
            json.WriteNumber("loss_scale", scaling.Scale);
            json.WriteNumber("overflows", scaling.Overflows);
        });
    }

    /// <summary>Loss over all rows of --eval-data; false where it was given up because of a request to stop.</summary>
    private bool TryEvaluate(CancellationToken stop)
    {
        var batches = _data.Evaluation!;
        var losses = _ranks.Sum(3, sums =>
        {
            for (long i = _ranks.Rank; i < batches.MicroBatchesPerEpoch; i += _ranks.Count)
            {
                if (stop.IsCancellationRequested)
                {
                    sums[2] = 1;
                    return;
                }
                batches.ReadMicroBatch(i, _evalBatch);
                var result = _engine.Evaluate(TrainingData.Tokens(_evalBatch));
                sums[0] += result.LossSum;
                sums[1] += result.LabelTokens;
            }
        });
        if (losses[2] > 0)
            return false;
        var loss = losses[0] / losses[1];
        _ranks.Together(() =>
        {
            if (!double.IsFinite(loss))
                throw new TrainingDivergedException($"The evaluation loss is {Text(loss)} after step {_engine.Step}. {LastGood}");
            _metrics?.Append(_engine.Step, json =>
            {
                json.WriteNumber("eval_loss", loss);
                json.WriteNumber("eval_perplexity", Math.Min(Math.Exp(loss), double.MaxValue));
            });
        });
        _evalLoss = loss;
        _position.LastEvaluated = _engine.Step;
        var isBetter = !(loss >= _position.BestEvalLoss);
        _position.WithoutImprovement = isBetter ? 0 : _position.WithoutImprovement + 1;
        if (isBetter)
            _position.BestEvalLoss = loss;
        _isSaved = false;
        Report(loss);
        return true;
    }

    private TrainingOutcome Interrupt()
    {
        _engine.DiscardGradients();
        Save();
        return Outcome(TrainingEnd.Interrupted);
    }

    private void Save()
    {
        if (!_isSaved)
        {
            // What is saved is what every rank goes on with, also where the processors of their machines round differently.
            if (_engine.State is { } state)
                _ranks.TakeFirst(state);
            _ranks.Together(() =>
            {
                if (!_engine.IsFinite)
                    throw new TrainingDivergedException($"A parameter or moment is no longer finite after step {_engine.Step}, so that step is not saved. {LastGood} Lower --lr.");
                if (_ranks.IsFirst)
                    Write();
            });
            _checkpoint = _checkpoints.PathOf(_engine.Step);
            _isSaved = true;
        }
        if (_ranks.IsFirst)
            _checkpoints.KeepNewest(_options.Keep); // also where the process was killed between the two
    }

    private void Write()
    {
        _metrics!.Flush();
        using var writer = _checkpoints.Begin(_engine.Artifacts, _engine.Step);
        _engine.Save(writer);
        writer.Commit(_position.ToState(_record));
    }

    private void Report(double? evalLoss)
    {
        var done = _engine.Step - _firstStep;
        var remaining = done == 0 ? TimeSpan.Zero : _elapsed.Elapsed * ((double)(_record.TotalSteps - _engine.Step) / done);
        _progress(new TrainingProgress(_engine.Step, _record.TotalSteps, _loss ?? double.NaN, _schedule.Rate(Math.Max(0, _engine.Step - 1)), _tokensPerSecond, remaining, evalLoss));
    }

    private TrainingOutcome Outcome(TrainingEnd end) =>
        new(end, _engine.Step, _record.TotalSteps, _loss, _evalLoss, _checkpoint ?? _checkpoints.Folder, _elapsed.Elapsed, _position.Scaling?.Scale, _position.Scaling?.Overflows);

    private TrainingDivergedException Diverged(string what, double value, IReadOnlyList<int> lines)
    {
        _engine.DiscardGradients();
        var rows = string.Join(", ", lines.Take(MostRowsNamed)) + (lines.Count > MostRowsNamed ? $" and {lines.Count - MostRowsNamed} more" : "");
        return new TrainingDivergedException($"The {what} is {Text(value)} in step {_engine.Step + 1}, on the rows at lines {rows} of '{_record.Settings.Data}'. "
            + $"Nothing of that step is saved. {LastGood} Lower --lr, or look at those rows.");
    }

    private string LastGood => _checkpoint is null ? "No checkpoint had been saved yet." : $"The last good checkpoint is '{_checkpoint}'.";

    private static string Text(double value) => value.ToString(CultureInfo.InvariantCulture);
}
