namespace SorsaOrt.Report;

/// <summary>One training of a comparison: a method at one learning rate and seed.</summary>
/// <param name="Method">sorsa, pissa, lora or full.</param>
/// <param name="LearningRate">Peak learning rate.</param>
/// <param name="Seed">Seed of the build and of the order of rows.</param>
/// <param name="Folder">Folder that holds its artifacts, run and merged model.</param>
/// <param name="Trainable">Trainable parameters.</param>
/// <param name="EvalLoss">Loss on the rows held back, at the end.</param>
/// <param name="Accuracy">Share of right answers, 0 to 1; null where no task was given.</param>
/// <param name="Seconds">Time of the training.</param>
/// <param name="PeakMemoryBytes">Largest resident memory of the training process.</param>
public sealed record ComparedRun(
    string Method, double LearningRate, long Seed, string Folder, long Trainable, double EvalLoss, double? Accuracy, double Seconds, long PeakMemoryBytes)
{
    /// <summary>Name of the training's own folder of logs and checkpoints.</summary>
    public const string RunFolder = "run";

    /// <summary>Evaluation loss by optimizer step.</summary>
    public Curve EvalLossBySteps() => RunCurves.Read(Path.Combine(Folder, RunFolder)).Evaluation("eval_loss");

    /// <summary>Evaluation loss by tokens trained on.</summary>
    public Curve EvalLossByTokens()
    {
        var curves = RunCurves.Read(Path.Combine(Folder, RunFolder));
        var (tokens, loss) = (curves.Training("tokens"), curves.Evaluation("eval_loss"));
        var (seen, next) = (0.0, 0);
        var at = new double[loss.Steps.Length];
        for (var i = 0; i < at.Length; i++)
        {
            for (; next < tokens.Steps.Length && tokens.Steps[next] <= loss.Steps[i]; next++)
                seen += tokens.Values[next];
            at[i] = seen;
        }
        return new Curve(at, loss.Values);
    }
}

/// <summary>The runs of one method at one learning rate, over its seeds.</summary>
/// <param name="Method">The method.</param>
/// <param name="LearningRate">Peak learning rate.</param>
/// <param name="Runs">One per seed.</param>
public sealed record ComparedSetting(string Method, double LearningRate, IReadOnlyList<ComparedRun> Runs)
{
    /// <summary>Evaluation loss at the end: mean over the seeds, lowest and highest.</summary>
    public Spread EvalLoss => Spread.Of(Runs.Select(r => r.EvalLoss));

    /// <summary>Share of right answers; null where no task was given.</summary>
    public Spread? Accuracy => Runs.All(r => r.Accuracy is not null) ? Spread.Of(Runs.Select(r => r.Accuracy!.Value)) : null;

    /// <summary>All settings, by method in the order of first appearance, then by learning rate.</summary>
    public static IReadOnlyList<ComparedSetting> Group(IEnumerable<ComparedRun> runs) =>
        [.. runs.GroupBy(r => r.Method).SelectMany(m => m.GroupBy(r => r.LearningRate).OrderBy(g => g.Key).Select(g => new ComparedSetting(m.Key, g.Key, [.. g])))];

    /// <summary>Of every method the learning rate with the lowest mean evaluation loss: each method at its own best.</summary>
    public static IReadOnlyList<ComparedSetting> Best(IReadOnlyList<ComparedSetting> settings) =>
        [.. settings.GroupBy(s => s.Method).Select(g => g.MinBy(s => s.EvalLoss.Mean)!)];
}

/// <summary>A figure over several seeds.</summary>
/// <param name="Mean">Mean.</param>
/// <param name="Lowest">Lowest.</param>
/// <param name="Highest">Highest.</param>
public readonly record struct Spread(double Mean, double Lowest, double Highest)
{
    /// <summary>Of at least one figure.</summary>
    public static Spread Of(IEnumerable<double> values)
    {
        var all = values.ToArray();
        return new Spread(all.Average(), all.Min(), all.Max());
    }
}
