using System.Diagnostics;
using System.Globalization;
using CommandLine;
using SorsaOrt.Artifacts;
using SorsaOrt.Data;
using SorsaOrt.Engines;
using SorsaOrt.Inference;

namespace SorsaOrt.Cli.Verbs;

/// <summary>The model that evaluate and generate work with.</summary>
internal abstract class ModelVerbOptions : VerbOptions
{
    [Option("model", MetaValue = "model.onnx", HelpText = "An exported or merged model.")]
    public string? Model { get; set; }

    [Option("artifacts", MetaValue = "DIR", HelpText = "In place of --model: artifacts, with --checkpoint.")]
    public string? Artifacts { get; set; }

    [Option("checkpoint", MetaValue = "RUN", HelpText = "Trained parameters for --artifacts.")]
    public string? Checkpoint { get; set; }

    [Option("tokenizer", MetaValue = "FILE", HelpText = "tokenizer.json or tokenizer.model, or the folder that holds it.")]
    public string? Tokenizer { get; set; }

    [Option("template", Default = "alpaca", MetaValue = "alpaca|alpaca-cot|chatml|none|FILE", HelpText = "How a query becomes a prompt.")]
    public string Template { get; set; } = "alpaca";

    [Option("device", Default = "auto", MetaValue = "cpu|cuda[:N]|directml[:N]|auto", HelpText = "Where to run.")]
    public string Device { get; set; } = "auto";

    [Option("threads", HelpText = "Threads; default: all processors.")]
    public int? Threads { get; set; }

    [Option("max-tokens", Default = 256, HelpText = "Most tokens of an answer.")]
    public int MaxTokens { get; set; } = 256;

    /// <summary>Step of the checkpoint that was opened.</summary>
    protected long? CheckpointStep { get; private set; }

    /// <summary>Opens what --model, or --artifacts with --checkpoint, names.</summary>
    protected LanguageModel OpenModel(Terminal terminal)
    {
        if ((Model is null) == (Artifacts is null))
            throw new UsageException("give --model, or --artifacts with --checkpoint.");
        if (Model is not null && Checkpoint is not null)
            throw new UsageException("--checkpoint goes with --artifacts; --model is run as it is.");
        var options = new EngineOptions { Device = Choice.Device(Device), Threads = Choice.Threads(Threads), Training = false };
        if (Model is not null)
            return OnnxLanguageModel.Open(Model, options, terminal.Note);
        var artifacts = ArtifactSet.Open(Artifacts!, Verification.Full);
        using var checkpoint = Checkpoint is null ? null : CheckpointStore.OpenNamed(Checkpoint, artifacts, terminal.Note);
        CheckpointStep = checkpoint?.State.Step;
        return ArtifactLanguageModel.Open(artifacts, checkpoint, options);
    }
}

[Verb("evaluate", HelpText = "Loss and perplexity, or exact match of answers.")]
internal sealed class EvaluateVerb : ModelVerbOptions
{
    [Option("data", Required = true, MetaValue = "FILE", HelpText = "Rows to evaluate on.")]
    public string DataFile { get; set; } = "";

    [Option("metric", Default = "loss", MetaValue = "loss|gsm8k|math", HelpText = "loss: mean cross entropy and perplexity; gsm8k: exact match of the final number; math: of the last boxed answer.")]
    public string Metric { get; set; } = "loss";

    [Option("limit", HelpText = "Only the first N rows.")]
    public int? Limit { get; set; }

    [Option("batch-size", Default = 16, HelpText = "Rows at a time.")]
    public int BatchSize { get; set; } = 16;

    [Option("max-length", Default = 512, HelpText = "Longest row in tokens; longer ones lose the left of their prompt.")]
    public int MaxLength { get; set; } = 512;

    [Option("skip-bad-rows", HelpText = "Count and skip rows that cannot be used.")]
    public bool SkipBadRows { get; set; }

    [Option("out", MetaValue = "FILE.jsonl", HelpText = "Write every answer there; a second start goes on after the answers that are there already.")]
    public string? Out { get; set; }

    [Option("force", HelpText = "Replace an existing --out file.")]
    public bool Force { get; set; }

    /// <summary>Answers that were right in the run just made.</summary>
    public int LastCorrect { get; private set; }

    public override int Run(Terminal terminal)
    {
        var metric = Choice.Of<ResultForm?>("metric", Metric, ("loss", null), ("gsm8k", ResultForm.Gsm8k), ("math", ResultForm.Math));
        if (BatchSize < 1 || Limit < 1 || MaxTokens < 1)
            throw new UsageException("--batch-size, --limit and --max-tokens must be at least 1.");
        if (MaxLength < 2)
            throw new UsageException("--max-length must be at least 2.");
        if (Out is not null && metric is null)
            throw new UsageException("--out is for the answers of --metric gsm8k or math.");
        var tokenizer = Tokenizer is null ? null : Data.Tokenizer.Load(Tokenizer);
        var template = Data.Template.Load(Template);
        using var file = RowFile.Open(DataFile, skipBadRows: SkipBadRows);
        if (file.SkippedNote is { } skipped)
            terminal.Note(skipped);
        using var model = OpenModel(terminal);
        var options = new EvaluationOptions { BatchSize = BatchSize, Limit = Limit, MaxLength = MaxLength, MaxTokens = MaxTokens };
        return metric is not null
            ? ExactMatchOf(terminal, metric, model, tokenizer ?? throw new UsageException($"--metric {Metric} needs --tokenizer."), template, file, options)
            : LossOf(terminal, model, tokenizer, template, file, options);
    }

    private int LossOf(Terminal terminal, LanguageModel model, Tokenizer? tokenizer, Template template, RowFile file, EvaluationOptions options)
    {
        var report = LossEvaluation.Run(model, tokenizer, template, file, options, r =>
            terminal.Progress(string.Create(CultureInfo.InvariantCulture, $"{r.Rows} of {file.Count} rows, loss {r.Loss:0.0000}")));
        WarnOfRefused(terminal, report.Refused);
        terminal.Result(string.Create(CultureInfo.InvariantCulture,
            $"loss {report.Loss:0.0000}, perplexity {report.Perplexity:0.000} over {report.LabelTokens} label tokens of {report.Rows} rows"));
        if (Json)
            terminal.ResultJson(new { report.Loss, report.Perplexity, report.LabelTokens, report.Rows, Skipped = file.SkippedCount, Refused = report.Refused.Count });
        return ExitCode.Done;
    }

    private int ExactMatchOf(Terminal terminal, ResultForm form, LanguageModel model, Tokenizer tokenizer, Template template, RowFile file, EvaluationOptions options)
    {
        using var answers = Out is null ? null : AnswerFile.Open(Out, AnswerSettings(tokenizer, file), Force);
        if (answers is { Known.Count: > 0 })
            terminal.Note($"{Out}: going on after {answers.Known.Count} answers");
        var rows = Math.Min(file.Count, Limit ?? int.MaxValue);
        var time = Stopwatch.StartNew();
        var known = answers?.Known.Values.Sum(a => (long)a.Tokens) ?? 0;
        var report = ExactMatch.Run(model, tokenizer, template, file, form, options, answers?.Known, answer => answers?.Add(answer),
            r => terminal.Progress(string.Create(CultureInfo.InvariantCulture,
                $"{r.Rows} of {rows} rows, {r.Correct} right ({100 * r.Accuracy:0.0} %), {Math.Max(0, r.GeneratedTokens - known) / time.Elapsed.TotalSeconds:0} tokens/s")));
        LastCorrect = report.Correct;
        WarnOfRefused(terminal, report.Refused);
        terminal.Result(string.Create(CultureInfo.InvariantCulture, $"exact match {report.Correct} of {report.Rows} ({100 * report.Accuracy:0.0} %)"));
        if (Json)
            terminal.ResultJson(new { report.Accuracy, report.Correct, report.Rows, Skipped = file.SkippedCount, Refused = report.Refused.Count });
        return ExitCode.Done;
    }

    /// <summary>What the answers depend on; a file of others is not gone on with.</summary>
    private Dictionary<string, string> AnswerSettings(Tokenizer tokenizer, RowFile file) => new()
    {
        ["metric"] = Metric,
        ["template"] = File.Exists(Template) ? FileDigest.Of(Template).Sha256 : Template,
        ["max_tokens"] = MaxTokens.ToString(CultureInfo.InvariantCulture),
        ["data"] = file.Fingerprint,
        ["tokenizer"] = FileDigest.Of(tokenizer.FilePath).Sha256,
        ["model"] = Model is not null ? FileDigest.Of(Model).Sha256
            : FileDigest.Of(Path.Combine(Artifacts!, ArtifactFiles.Manifest)).Sha256 + (CheckpointStep is { } step ? string.Create(CultureInfo.InvariantCulture, $" step {step}") : ""),
    };

    private static void WarnOfRefused(Terminal terminal, Refusals refused)
    {
        if (refused.Count > 0)
            terminal.Note($"{refused.Count} rows could not be evaluated, the first: {Printable.Text(refused.First ?? "")}");
    }
}
