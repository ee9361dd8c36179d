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

    [Option("temperature", Default = 0.0, HelpText = "0: always the likeliest token.")]
    public double Temperature { get; set; }

    [Option("top-p", Default = 1.0, HelpText = "Sample from the likeliest tokens that together have this probability.")]
    public double TopP { get; set; }

    [Option("seed", Default = 0L, HelpText = "Seed of the sampling.")]
    public long Seed { get; set; }

    public override int Run(Terminal terminal)
    {
        if (!(Temperature >= 0) || !double.IsFinite(Temperature) || !(TopP > 0 && TopP <= 1) || MaxTokens < 1)
            throw new UsageException("--temperature must be at least 0, --top-p above 0 and at most 1, --max-tokens at least 1.");
        if (Tokenizer is null)
            throw new UsageException("--tokenizer is needed: the tokenizer.json or tokenizer.model that came with the model.");
        using var model = OpenModel();
        var watch = Stopwatch.StartNew();
        var completion = TextGeneration.Stream(model, Data.Tokenizer.Load(Tokenizer), Data.Template.Load(Template), Prompt,
            new DecodingOptions { MaxTokens = MaxTokens, Temperature = (float)Temperature, TopP = (float)TopP, Seed = unchecked((ulong)Seed) }, terminal.Stream);
        terminal.Result("");
        terminal.Note(string.Create(CultureInfo.InvariantCulture, $"{completion.Tokens.Count} tokens, {completion.Tokens.Count / watch.Elapsed.TotalSeconds:0} tokens/s"));
        if (Json)
            terminal.ResultJson(new { Tokens = completion.Tokens.Count, Reason = completion.Reason.ToString(), Seconds = watch.Elapsed.TotalSeconds });
        return ExitCode.Done;
    }
}
