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
    private readonly SessionEngine _engine;
    private readonly TrainingData _data;
    private readonly CheckpointStore _checkpoints;
    private readonly RunPosition _position;
    private readonly MetricsLog _metrics;
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

    /// <summary>The loop of an opened run.</summary>
    public TrainingLoop(RunRecord record, SessionEngine engine, TrainingData data, CheckpointStore checkpoints, RunPosition position, MetricsLog metrics, Action<TrainingProgress> progress)
    {
        (_record, _engine, _data, _checkpoints, _position, _metrics, _progress) = (record, engine, data, checkpoints, position, metrics, progress);
        _options = record.Settings.Training;
        _schedule = new LearningRateSchedule(_options.Schedule, _options.LearningRate, record.TotalSteps, _options.Warmup);
        _adamW = new AdamWOptions
        {
            Beta1 = _options.Beta1,
            Beta2 = _options.Beta2,
            Epsilon = _options.Epsilon,
            WeightDecay = _options.WeightDecay,
            MaxGradNorm = _options.MaxGradNorm,
            // η is the peak, not the scheduled rate, and the reference's accelerator divides every loss it sees by K.
            RegularizerStrength = _options.Gamma / (_options.LearningRate * _options.Accumulation),
        };
        _batches = [.. Enumerable.Range(0, _options.Accumulation).Select(_ => new Batch())];
        _firstStep = engine.Step;
        _checkpoint = checkpoints.List() is [.., var newest] ? newest.Path : null;
        _isSaved = _checkpoint is not null;
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
        var step = _engine.Step;
        for (var i = 0; i < _batches.Count; i++)
            _data.Batches.ReadMicroBatch(_position.MicroBatches + i, _batches[i]);
        var labels = _batches.Sum(b => (long)b.LabelCount);
        double lossSum = 0, sumOfMeans = 0;
        for (var i = 0; i < _batches.Count; i++)
        {
            var batch = _batches[i];
            if (stop.IsCancellationRequested)
                return false;
            var scale = _options.LossAverage == LossAverage.Tokens ? 1.0 / labels : 1.0 / ((double)_batches.Count * batch.LabelCount);
            var result = _engine.Accumulate(TrainingData.Tokens(batch) with { DropoutSeed = DropoutSeed(_position.MicroBatches + i) }, scale);
            if (!double.IsFinite(result.LossSum))
                throw Diverged("loss", result.LossSum, [batch]);
            lossSum += result.LossSum;
            sumOfMeans += result.Mean;
        }
        var rate = _schedule.Rate(step);
        var update = _engine.Update(_adamW, rate);
        if (!update.IsFinite)
            throw Diverged(double.IsFinite(update.GradientNorm) ? "regulariser" : "gradient norm", double.IsFinite(update.GradientNorm) ? update.OrthonormalityLoss : update.GradientNorm, _batches);
        _position.MicroBatches += _batches.Count;
        _isSaved = false;
        _loss = _options.LossAverage == LossAverage.Tokens ? lossSum / labels : sumOfMeans / _batches.Count;
        Log(rate, update, labels, time.Elapsed.TotalSeconds);
        Report(null);
        return true;
    }

    // A number of the run's seed and the micro-batch alone, so that a resumed run drops the same.
    private ulong DropoutSeed(long microBatch) => unchecked((ulong)_options.Seed * 0x9E3779B97F4A7C15 + (ulong)microBatch);

    private void Log(double rate, UpdateResult update, long labels, double seconds)
    {
        var tokens = _batches.Sum(b => (long)b.TokenCount);
        _tokensPerSecond = tokens / Math.Max(seconds, 1e-9);
        _metrics.Append(_engine.Step, json =>
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
        });
    }

    /// <summary>Loss over all rows of --eval-data; false where it was given up because of a request to stop.</summary>
    private bool TryEvaluate(CancellationToken stop)
    {
        var batches = _data.Evaluation!;
        double sum = 0;
        long labels = 0;
        for (long i = 0; i < batches.MicroBatchesPerEpoch; i++)
        {
            if (stop.IsCancellationRequested)
                return false;
            batches.ReadMicroBatch(i, _evalBatch);
            var result = _engine.Evaluate(TrainingData.Tokens(_evalBatch));
            sum += result.LossSum;
            labels += result.LabelTokens;
        }
        var loss = sum / labels;
        if (!double.IsFinite(loss))
            throw new TrainingDivergedException($"The evaluation loss is {Text(loss)} after step {_engine.Step}. {LastGood}");
        _metrics.Append(_engine.Step, json =>
        {
            json.WriteNumber("eval_loss", loss);
            json.WriteNumber("eval_perplexity", Math.Min(Math.Exp(loss), double.MaxValue));
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
            Write();
        _checkpoints.KeepNewest(_options.Keep); // also where the process was killed between the two
    }

    private void Write()
    {
        if (!_engine.IsFinite)
            throw new TrainingDivergedException($"A parameter or moment is no longer finite after step {_engine.Step}, so that step is not saved. {LastGood} Lower --lr.");
        _metrics.Flush();
        using (var writer = _checkpoints.Begin(_engine.Artifacts, _engine.Step))
        {
            _engine.Save(writer);
            writer.Commit(_position.ToState(_record));
            _checkpoint = writer.FinalPath;
        }
        _isSaved = true;
    }

    private void Report(double? evalLoss)
    {
        var done = _engine.Step - _firstStep;
        var remaining = done == 0 ? TimeSpan.Zero : _elapsed.Elapsed * ((double)(_record.TotalSteps - _engine.Step) / done);
        _progress(new TrainingProgress(_engine.Step, _record.TotalSteps, _loss ?? double.NaN, _schedule.Rate(Math.Max(0, _engine.Step - 1)), _tokensPerSecond, remaining, evalLoss));
    }

    private TrainingOutcome Outcome(TrainingEnd end) =>
        new(end, _engine.Step, _record.TotalSteps, _loss, _evalLoss, _checkpoint ?? _checkpoints.Folder, _elapsed.Elapsed);

    private TrainingDivergedException Diverged(string what, double value, IReadOnlyList<Batch> batches)
    {
        _engine.DiscardGradients();
        var lines = batches.SelectMany(b => b.Rows).ToArray();
        var rows = string.Join(", ", lines.Take(MostRowsNamed)) + (lines.Length > MostRowsNamed ? $" and {lines.Length - MostRowsNamed} more" : "");
        return new TrainingDivergedException($"The {what} is {Text(value)} in step {_engine.Step + 1}, on the rows at lines {rows} of '{_record.Settings.Data}'. "
            + $"Nothing of that step is saved. {LastGood} Lower --lr, or look at those rows.");
    }

    private string LastGood => _checkpoint is null ? "No checkpoint had been saved yet." : $"The last good checkpoint is '{_checkpoint}'.";

    private static string Text(double value) => value.ToString(CultureInfo.InvariantCulture);
}
