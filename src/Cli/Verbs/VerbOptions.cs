using CommandLine;

namespace SorsaOrt.Cli.Verbs;

/// <summary>Options that every verb has.</summary>
internal abstract class VerbOptions
{
    [Option("json", HelpText = "Print one JSON object with the results as the last line of stdout.")]
    public bool Json { get; set; }

    [Option("verbose", HelpText = "Show the stack trace of an error.")]
    public bool Verbose { get; set; }

    [Option("config", MetaValue = "FILE.json", HelpText = "Options by their long names; those on the command line win.")]
    public string? Config { get; set; }

    /// <summary>The file that an error is about when its message speaks of nodes and tensors alone; null: messages say it themselves.</summary>
    public virtual string? Subject => null;

    /// <summary>Does the work and returns the exit code.</summary>
    public abstract int Run(Terminal terminal);
}
