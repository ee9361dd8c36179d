using CommandLine;

namespace SorsaOrt.Benchmarks;

/// <summary>What is measured.</summary>
[Verb("step", isDefault: true, HelpText = "Measure training steps of an artifact folder.")]
public sealed class StepOptions
{
    [Option("artifacts", Required = true, HelpText = "Folder that sorsa build-artifacts wrote.")]
    public string Artifacts { get; set; } = "";

    [Option("batch-size", Default = 2, HelpText = "Rows of a micro-batch.")]
    public int BatchSize { get; set; }

    [Option("length", Default = 256, HelpText = "Tokens of a row.")]
    public int Length { get; set; }

    [Option("label-share", Default = 0.5, HelpText = "Share of tokens that count in the loss; the last ones of each row.")]
    public double LabelShare { get; set; }

    [Option("steps", Default = 6, HelpText = "Steps measured, after one that is not.")]
    public int Steps { get; set; }

    [Option("threads", Default = 0, HelpText = "Threads of a session; 0 takes every processor, as training does.")]
    public int Threads { get => field > 0 ? field : Environment.ProcessorCount; set; }

    [Option("pack-weights", HelpText = "Keep packed copies of the frozen weights; default as in training.")]
    public bool PackWeights { get; set; }

    [Option("no-pack-weights", HelpText = "Keep none.")]
    public bool NoPackWeights { get; set; }

    [Option("no-profile", HelpText = "Leave out the share of time by operator.")]
    public bool NoProfile { get; set; }

    [Option("keep-profile", HelpText = "Keep ONNX Runtime's profile under this name.")]
    public string? KeepProfile { get; set; }

    [Option("json", HelpText = "Print one JSON object in place of the table.")]
    public bool Json { get; set; }
}
