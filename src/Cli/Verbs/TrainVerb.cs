using System.Diagnostics;
using System.Globalization;
using CommandLine;
using SorsaOrt.Report;
using SorsaOrt.Trainer;

namespace SorsaOrt.Cli.Verbs;

[Verb("train", HelpText = "Train the adapters of an artifacts folder, or resume a run.")]
internal sealed class TrainVerb : VerbOptions
{
    [Option("artifacts", SetName = "new", MetaValue = "DIR", HelpText = "Artifacts of `sorsa build-artifacts`.")]
    public string? Artifacts { get; set; }

    [Option("data", SetName = "new", MetaValue = "FILE", HelpText = "Rows to train on: .jsonl, .json or .parquet.")]
    public string? Data { get; set; }

    [Option("out", SetName = "new", MetaValue = "RUN", HelpText = "Folder for the run.")]
    public string? Out { get; set; }

    [Option("resume", SetName = "resume", MetaValue = "RUN", HelpText = "Go on from the newest whole checkpoint of that run.")]
    public string? Resume { get; set; }

    [Option("tokenizer", SetName = "new", MetaValue = "FILE", HelpText = "tokenizer.json or tokenizer.model, or the folder that holds it; not needed for rows of input_ids.")]
    public string? Tokenizer { get; set; }

    [Option("template", SetName = "new", Default = "alpaca", MetaValue = "alpaca|alpaca-cot|chatml|none|FILE", HelpText = "How query and response become a prompt.")]
    public string Template { get; set; } = "alpaca";

    [Option("eval-data", SetName = "new", MetaValue = "FILE", HelpText = "Rows to evaluate on while training.")]
    public string? EvalData { get; set; }

    [Option("epochs", SetName = "new", HelpText = "Passes over the data (default 1).")]
    public double? Epochs { get; set; }

    [Option("max-steps", SetName = "new", HelpText = "Optimizer steps, in place of epochs.")]
    public long? MaxSteps { get; set; }

    [Option("batch-size", SetName = "new", Default = 2, HelpText = "Rows of a micro-batch.")]
    public int BatchSize { get; set; } = 2;

    [Option("accumulation", SetName = "new", Default = 64, HelpText = "Micro-batches of an optimizer step, over all ranks of mpirun.")]
    public int Accumulation { get; set; } = 64;

    [Option("max-length", SetName = "new", Default = 512, HelpText = "Longest row in tokens; longer ones lose the left of their prompt.")]
    public int MaxLength { get; set; } = 512;

    [Option("packing", SetName = "new", HelpText = "Put several samples into a row of --max-length; they do not see each other.")]
    public bool Packing { get; set; }

    [Option("no-sort", SetName = "new", HelpText = "Do not put rows of like length together within a step (sorting changes no gradient).")]
    public bool NoSort { get; set; }

    [Option("no-shuffle", SetName = "new", HelpText = "Take rows in the order of the file.")]
    public bool NoShuffle { get; set; }

    [Option("skip-bad-rows", SetName = "new", HelpText = "Count and skip rows that cannot be used instead of refusing the file.")]
    public bool SkipBadRows { get; set; }

    [Option("lr", SetName = "new", Default = 3e-5, HelpText = "Peak learning rate.")]
    public double LearningRate { get; set; } = 3e-5;

    [Option("gamma", SetName = "new", Default = 4e-4, HelpText = "Strength of the orthonormal regulariser.")]
    public double Gamma { get; set; } = 4e-4;

    [Option("weight-decay", SetName = "new", Default = 0.0, HelpText = "Decoupled weight decay.")]
    public double WeightDecay { get; set; }

    [Option("betas", SetName = "new", Default = "0.9,0.999", MetaValue = "B1,B2", HelpText = "Decay rates of Adam's moments.")]
    public string Betas { get; set; } = "0.9,0.999";

    [Option("eps", SetName = "new", Default = 1e-8, HelpText = "Adam's epsilon.")]
    public double Epsilon { get; set; } = 1e-8;

    [Option("max-grad-norm", SetName = "new", Default = 1.0, HelpText = "Clip the gradient to this norm; 0 does not clip.")]
    public double MaxGradNorm { get; set; } = 1.0;

    [Option("schedule", SetName = "new", Default = "cosine", MetaValue = "cosine|linear|constant", HelpText = "Learning rate after the warmup.")]
    public string Schedule { get; set; } = "cosine";

    [Option("warmup", SetName = "new", Default = 0.03, HelpText = "Below 1 a share of all steps, otherwise steps.")]
    public double Warmup { get; set; } = 0.03;

    [Option("loss-average", SetName = "new", Default = "tokens", MetaValue = "tokens|batches", HelpText = "Mean over all labels of a step, or mean of the micro-batches' means.")]
    public string LossAverage { get; set; } = "tokens";

    [Option("device", Default = "auto", MetaValue = "cpu|cuda[:N]|directml[:N]|auto", HelpText = "Where to run.")]
    public string Device { get; set; } = "auto";

    [Option("engine", MetaValue = "ort|ort-training", HelpText = "ort (default): plain sessions of ONNX Runtime. ort-training: its official training runtime, where the build holds it.")]
    public string? Engine { get; set; }

    [Option("threads", HelpText = "Threads; default: all processors, shared among the ranks of a machine.")]
    public int? Threads { get; set; }

    [Option("pack-weights", SetName = "new", HelpText = "Keep packed copies of the frozen weights: faster steps, about twice the weights in memory; with --recompute layer only of those that are not multiplied again. The default where they take less than a quarter of the memory.")]
    public bool PackWeights { get; set; }

    [Option("no-pack-weights", SetName = "new", HelpText = "Keep none: slower steps, less memory.")]
    public bool NoPackWeights { get; set; }

    [Option("tf32", SetName = "new", HelpText = "Let CUDA multiply float32 in TF32 while training: faster, with 10 bits of mantissa. The regulariser stays in float32.")]
    public bool Tf32 { get; set; }

    [Option("loss-scale", SetName = "new", MetaValue = "N", HelpText = "Artifacts of --compute-dtype fp16: factor on the loss to begin with, a power of two (default 65536); halved when gradients overflow, doubled after 2000 steps without.")]
    public long? LossScale { get; set; }

    [Option("save-every", SetName = "new", Default = 0L, MetaValue = "STEPS", HelpText = "Steps between checkpoints; 0: only at the end.")]
    public long SaveEvery { get; set; }

    [Option("keep", SetName = "new", Default = 3, HelpText = "Checkpoints to keep.")]
    public int Keep { get; set; } = 3;

    [Option("eval-every", SetName = "new", Default = 0L, MetaValue = "STEPS", HelpText = "Steps between evaluations; 0: at the end.")]
    public long EvalEvery { get; set; }

    [Option("early-stop", SetName = "new", Default = 0, MetaValue = "N", HelpText = "Stop after N evaluations without a better loss; 0: never.")]
    public int EarlyStop { get; set; }

    [Option("seed", SetName = "new", Default = 0L, HelpText = "Seed of the order of rows and of all else that is random.")]
    public long Seed { get; set; }

    [Option("force", SetName = "new", HelpText = "Replace an existing run.")]
    public bool Force { get; set; }

    public override int Run(Terminal terminal)
    {
        if (PackWeights && NoPackWeights)
            throw new UsageException("give --pack-weights or --no-pack-weights, not both.");
        if (Resume is null && (Artifacts is null || Data is null || Out is null))
            throw new UsageException("--artifacts, --data and --out are needed, or --resume RUN.");
        using var ranks = Ranks.Join();
        if (ranks.Count == 1)
            return Train(terminal, ranks);
        try
        {
            return Train(ranks.IsFirst ? terminal : Terminal.Silent, ranks);
        }
        catch (OtherRankFailedException)
        {
            return ExitCode.Failed; // That rank tells why and ends this one, which waits for it as it leaves.
        }
        catch (Exception e)
        {
            return ranks.Abort(Failure.Report(terminal, e, Subject, Verbose));
        }
    }

    private int Train(Terminal terminal, Ranks ranks)
    {
        RunSettings? settings = null;
        if (Resume is null)
            ranks.Together(() => settings = Settings());
        using var run = settings is null ? Resumed(Resume!, ranks) : TrainingRun.Start(settings, Out!, Force, ranks);
        using var stop = new StopSignals();
        foreach (var note in run.Notes)
            terminal.Note(note);
        var outcome = run.Execute(progress => Show(terminal, progress), stop.Token);
        if (outcome.Step > 0 && ranks.IsFirst)
            RunReport.Write(run.Folder);
        // A run that was complete already takes no step and has no loss.
        var loss = outcome.Loss is { } mean ? string.Create(CultureInfo.InvariantCulture, $", loss {mean:0.0000}") : "";
        var evaluated = outcome.EvalLoss is { } eval ? string.Create(CultureInfo.InvariantCulture, $", evaluation loss {eval:0.0000}") : "";
        var early = outcome.End == TrainingEnd.EarlyStopped ? $", ended by --early-stop {run.Record.Settings.Training.EarlyStop}" : "";
        var scaled = outcome.LossScale is { } scale ? string.Create(CultureInfo.InvariantCulture, $", loss scale {scale} after {outcome.Overflows} overflows") : "";
        terminal.Result(string.Create(CultureInfo.InvariantCulture,
            $"{run.Folder}: step {outcome.Step} of {outcome.TotalSteps} in {Terminal.Duration(outcome.Elapsed)}{loss}{evaluated}{early}{scaled}, checkpoint {outcome.Checkpoint}"));
        if (Json)
        {
            terminal.ResultJson(new
            {
                Run = run.Folder,
                outcome.Step,
                outcome.TotalSteps,
                outcome.Loss,
                outcome.EvalLoss,
                outcome.Checkpoint,
                End = outcome.End.ToString().ToLowerInvariant(),
                outcome.LossScale,
                outcome.Overflows,
                Seconds = outcome.Elapsed.TotalSeconds,
                PeakMemoryBytes = Process.GetCurrentProcess().PeakWorkingSet64,
            });
        }
        if (outcome.End != TrainingEnd.Interrupted)
            return ExitCode.Done;
        terminal.Note($"interrupted; go on with `sorsa train --resume {run.Folder}`");
        return ExitCode.Interrupted;
    }

    // A run keeps its own settings. Threads and device may be named again, as scripts do, but not changed: another number rounds differently.
    private TrainingRun Resumed(string folder, Ranks ranks)
    {
        var run = TrainingRun.Resume(folder, ranks, Engine);
        try
        {
            ranks.Together(() => CheckUnchanged(run.Record.Settings));
            return run;
        }
        catch
        {
            run.Dispose();
            throw;
        }
    }

    private void CheckUnchanged(RunSettings own)
    {
        var changed = Threads is { } threads && threads != own.Threads ? $"--threads {threads}: the run was begun with {own.Threads}"
            : Device != "auto" && Device != own.Device ? $"--device {Printable.Text(Device)}: the run was begun on {own.Device}"
            : null;
        if (changed is not null)
            throw new UsageException($"{changed}, and goes on so to give exactly what it would have given; leave the option out.");
    }

    private static void Show(Terminal terminal, TrainingProgress p)
    {
        if (p.EvalLoss is { } eval)
            terminal.Note(string.Create(CultureInfo.InvariantCulture, $"step {p.Step}: evaluation loss {eval:0.0000}, perplexity {Math.Exp(eval):0.000}"));
        else
            terminal.Progress(string.Create(CultureInfo.InvariantCulture,
                $"step {p.Step}/{p.TotalSteps}  loss {p.Loss:0.0000}  lr {p.LearningRate:0.00e+0}  {p.TokensPerSecond:0} tokens/s  {Terminal.Duration(p.Remaining)} left"));
    }

    private RunSettings Settings() => new()
    {
        Artifacts = Artifacts!,
        Data = Data!,
        Tokenizer = Tokenizer,
        Template = Template,
        EvalData = EvalData,
        SkipBadRows = SkipBadRows,
        Device = Device,
        Engine = Engine ?? RunSettings.Ort,
        Threads = Choice.Threads(Threads),
        PackWeights = PackWeights ? true : NoPackWeights ? false : null,
        Tf32 = Tf32 ? true : null,
        Training = Options(),
    };

    private TrainingOptions Options()
    {
        if (Epochs is not null && MaxSteps is not null)
            throw new UsageException("give --epochs or --max-steps, not both.");
        var betas = Betas.Split(',');
        if (betas.Length != 2 || !double.TryParse(betas[0], NumberStyles.Float, CultureInfo.InvariantCulture, out var beta1)
            || !double.TryParse(betas[1], NumberStyles.Float, CultureInfo.InvariantCulture, out var beta2))
            throw new UsageException($"--betas '{Printable.Text(Betas)}': two numbers separated by a comma are needed, such as 0.9,0.999.");
        return new TrainingOptions
        {
            Epochs = Epochs ?? 1,
            MaxSteps = MaxSteps,
            BatchSize = BatchSize,
            Accumulation = Accumulation,
            MaxLength = MaxLength,
            Shuffle = !NoShuffle,
            Packing = Packing,
            SortByLength = !NoSort,
            LearningRate = LearningRate,
            Gamma = Gamma,
            WeightDecay = WeightDecay,
            Beta1 = beta1,
            Beta2 = beta2,
            Epsilon = Epsilon,
            MaxGradNorm = MaxGradNorm,
            Schedule = Choice.Of("schedule", Schedule, ("cosine", ScheduleShape.Cosine), ("linear", ScheduleShape.Linear), ("constant", ScheduleShape.Constant)),
            Warmup = Warmup,
            LossScale = LossScale,
            LossAverage = Choice.Of("loss-average", LossAverage, ("tokens", SorsaOrt.Trainer.LossAverage.Tokens), ("batches", SorsaOrt.Trainer.LossAverage.Batches)),
            SaveEvery = SaveEvery,
            Keep = Keep,
            EvalEvery = EvalEvery,
            EarlyStop = EarlyStop,
            Seed = Choice.Seed(Seed),
        };
    }
}
