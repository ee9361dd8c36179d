using CommandLine;

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

    [Option("tokenizer", MetaValue = "FILE", HelpText = "tokenizer.model; not needed for rows of input_ids.")]
    public string? Tokenizer { get; set; }

    [Option("template", Default = "alpaca", MetaValue = "alpaca|alpaca-cot|chatml|none|FILE", HelpText = "How query and response become a prompt.")]
    public string Template { get; set; } = "alpaca";

    [Option("eval-data", MetaValue = "FILE", HelpText = "Rows to evaluate on while training.")]
    public string? EvalData { get; set; }

    [Option("epochs", HelpText = "Passes over the data (default 1).")]
    public double? Epochs { get; set; }

    [Option("max-steps", HelpText = "Optimizer steps, in place of epochs.")]
    public long? MaxSteps { get; set; }

    [Option("batch-size", Default = 2, HelpText = "Rows of a micro-batch.")]
    public int BatchSize { get; set; }

    [Option("accumulation", Default = 64, HelpText = "Micro-batches of an optimizer step.")]
    public int Accumulation { get; set; }

    [Option("max-length", Default = 512, HelpText = "Longest row in tokens; longer ones lose the left of their prompt.")]
    public int MaxLength { get; set; }

    [Option("no-shuffle", HelpText = "Take rows in the order of the file.")]
    public bool NoShuffle { get; set; }

    [Option("skip-bad-rows", HelpText = "Count and skip rows that cannot be used instead of refusing the file.")]
    public bool SkipBadRows { get; set; }

    [Option("lr", Default = 3e-5, HelpText = "Peak learning rate.")]
    public double LearningRate { get; set; }

    [Option("gamma", Default = 4e-4, HelpText = "Strength of the orthonormal regulariser.")]
    public double Gamma { get; set; }

    [Option("weight-decay", Default = 0.0, HelpText = "Decoupled weight decay.")]
    public double WeightDecay { get; set; }

    [Option("betas", Default = "0.9,0.999", MetaValue = "B1,B2", HelpText = "Decay rates of Adam's moments.")]
    public string Betas { get; set; } = "0.9,0.999";

    [Option("eps", Default = 1e-8, HelpText = "Adam's epsilon.")]
    public double Epsilon { get; set; }

    [Option("max-grad-norm", Default = 1.0, HelpText = "Clip the gradient to this norm; 0 does not clip.")]
    public double MaxGradNorm { get; set; }

    [Option("schedule", Default = "cosine", MetaValue = "cosine|linear|constant", HelpText = "Learning rate after the warmup.")]
    public string Schedule { get; set; } = "cosine";

    [Option("warmup", Default = 0.03, HelpText = "Below 1 a share of all steps, otherwise steps.")]
    public double Warmup { get; set; }

    [Option("loss-average", Default = "tokens", MetaValue = "tokens|batches", HelpText = "Mean over all labels of a step, or mean of the micro-batches' means.")]
    public string LossAverage { get; set; } = "tokens";

    [Option("device", Default = "auto", MetaValue = "cpu|cuda[:N]|directml[:N]|auto", HelpText = "Where to run.")]
    public string Device { get; set; } = "auto";

    [Option("engine", Default = "ort", MetaValue = "ort|ort-training", HelpText = "ort: plain sessions of ONNX Runtime.")]
    public string Engine { get; set; } = "ort";

    [Option("threads", HelpText = "Threads; default: all processors.")]
    public int? Threads { get; set; }

    [Option("save-every", Default = 0L, MetaValue = "STEPS", HelpText = "Steps between checkpoints; 0: only at the end.")]
    public long SaveEvery { get; set; }

    [Option("keep", Default = 3, HelpText = "Checkpoints to keep.")]
    public int Keep { get; set; }

    [Option("eval-every", Default = 0L, MetaValue = "STEPS", HelpText = "Steps between evaluations; 0: at the end.")]
    public long EvalEvery { get; set; }

    [Option("early-stop", Default = 0, MetaValue = "N", HelpText = "Stop after N evaluations without a better loss; 0: never.")]
    public int EarlyStop { get; set; }

    [Option("seed", Default = 0L, HelpText = "Seed of the order of rows and of all else that is random.")]
    public long Seed { get; set; }

    [Option("force", HelpText = "Replace an existing run.")]
    public bool Force { get; set; }

    public override int Run(Terminal terminal) => throw new NotImplementedException();
}
