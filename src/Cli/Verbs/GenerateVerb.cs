using System.Diagnostics;
using System.Globalization;
using CommandLine;
using SorsaOrt.Inference;

namespace SorsaOrt.Cli.Verbs;

[Verb("generate", HelpText = "Answer a prompt.")]
internal sealed class GenerateVerb : ModelVerbOptions
{
    [Option("prompt", Required = true, MetaValue = "TEXT", HelpText = "What to answer.")]
    public string Prompt { get; set; } = "";

    [Option("stop", MetaValue = "TEXT…", HelpText = "Texts at which the answer ends; they are not printed.")]
    public IEnumerable<string> Stop { get; set; } = [];

    [Option("temperature", Default = 0.0, HelpText = "0: always the likeliest token.")]
    public double Temperature { get; set; }

    [Option("top-p", Default = 1.0, HelpText = "Sample from the likeliest tokens that together have this probability.")]
    public double TopP { get; set; } = 1.0;

    [Option("seed", Default = 0L, HelpText = "Seed of the sampling.")]
    public long Seed { get; set; }

    public override int Run(Terminal terminal)
    {
        if (!(Temperature >= 0) || !double.IsFinite(Temperature) || !(TopP > 0 && TopP <= 1) || MaxTokens < 1)
            throw new UsageException("--temperature must be at least 0, --top-p above 0 and at most 1, --max-tokens at least 1.");
        if (Tokenizer is null)
            throw new UsageException("--tokenizer is needed: the tokenizer.json or tokenizer.model that came with the model.");
        var seed = Choice.Seed(Seed);
        string[] stops = [.. Stop];
        if (stops.Any(string.IsNullOrEmpty))
            throw new UsageException("--stop needs a text.");
        var tokenizer = Data.Tokenizer.Load(Tokenizer);
        var template = Data.Template.Load(Template);
        using var model = OpenModel(terminal);
        var options = new DecodingOptions { MaxTokens = MaxTokens, Temperature = (float)Temperature, TopP = (float)TopP, Seed = (ulong)seed, StopTexts = stops };
        var watch = Stopwatch.StartNew();
        TimeSpan? first = null;
        var completion = TextGeneration.Stream(model, tokenizer, template, Prompt, options, text =>
        {
            first ??= watch.Elapsed;
            terminal.Stream(Printable.Stream(text));
        });
        terminal.Result("");
        var tokens = completion.Tokens.Count;
        var rate = tokens > 1 && first is { } start ? (tokens - 1) / (watch.Elapsed - start).TotalSeconds : tokens / watch.Elapsed.TotalSeconds;
        terminal.Note(string.Create(CultureInfo.InvariantCulture,
            $"{tokens} tokens, {rate:0.0} tokens/s after the first, which took {Terminal.Duration(first ?? watch.Elapsed)}; ended by {Reason(completion.Reason)}"));
        if (Json)
            terminal.ResultJson(new { Tokens = tokens, Reason = completion.Reason.ToString(), Seconds = watch.Elapsed.TotalSeconds, TokensPerSecond = rate });
        return ExitCode.Done;
    }

    private static string Reason(StopReason reason) => reason switch
    {
        StopReason.EndToken => "the model",
        StopReason.MaxTokens => "--max-tokens",
        StopReason.StopText => "--stop",
        _ => "the model's last position",
    };
}
