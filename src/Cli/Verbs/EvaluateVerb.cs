using CommandLine;

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

    [Option("tokenizer", MetaValue = "FILE", HelpText = "tokenizer.model.")]
    public string? Tokenizer { get; set; }

    [Option("template", Default = "alpaca", MetaValue = "alpaca|alpaca-cot|chatml|none|FILE", HelpText = "How a query becomes a prompt.")]
    public string Template { get; set; } = "alpaca";

    [Option("device", Default = "auto", MetaValue = "cpu|cuda[:N]|directml[:N]|auto", HelpText = "Where to run.")]
    public string Device { get; set; } = "auto";

    [Option("threads", HelpText = "Threads; default: all processors.")]
    public int? Threads { get; set; }

    [Option("max-tokens", Default = 256, HelpText = "Most tokens of an answer.")]
    public int MaxTokens { get; set; }
}

[Verb("evaluate", HelpText = "Loss and perplexity, or exact match of answers.")]
internal sealed class EvaluateVerb : ModelVerbOptions
{
    [Option("data", Required = true, MetaValue = "FILE", HelpText = "Rows to evaluate on.")]
    public string Data { get; set; } = "";

    [Option("metric", Default = "loss", MetaValue = "loss|gsm8k", HelpText = "loss: mean cross entropy and perplexity; gsm8k: exact match of the final number.")]
    public string Metric { get; set; } = "loss";

    [Option("limit", HelpText = "Only the first N rows.")]
    public int? Limit { get; set; }

    [Option("batch-size", Default = 8, HelpText = "Rows at a time.")]
    public int BatchSize { get; set; }

    [Option("max-length", Default = 512, HelpText = "Longest row in tokens.")]
    public int MaxLength { get; set; }

    [Option("skip-bad-rows", HelpText = "Count and skip rows that cannot be used.")]
    public bool SkipBadRows { get; set; }

    [Option("answers", MetaValue = "FILE.jsonl", HelpText = "Write every answer there.")]
    public string? Answers { get; set; }

    [Option("force", HelpText = "Replace an existing --answers file.")]
    public bool Force { get; set; }

    public override int Run(Terminal terminal) => throw new NotImplementedException();
}
