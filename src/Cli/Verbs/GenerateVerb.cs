using CommandLine;

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

    public override int Run(Terminal terminal) => throw new NotImplementedException();
}
