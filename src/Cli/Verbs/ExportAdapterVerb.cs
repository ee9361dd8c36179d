using System.Globalization;
using CommandLine;
using SorsaOrt.Artifacts;
using SorsaOrt.Merge.LoraDelta;

namespace SorsaOrt.Cli.Verbs;

[Verb("export-adapter", HelpText = "Write what training changed as a LoRA adapter over the original weights.")]
internal sealed class ExportAdapterVerb : VerbOptions
{
    [Option("artifacts", Required = true, MetaValue = "DIR", HelpText = "Artifacts of `sorsa build-artifacts`.")]
    public string Artifacts { get; set; } = "";

    [Option("checkpoint", Required = true, MetaValue = "RUN|RUN/checkpoints/step-N", HelpText = "Trained parameters.")]
    public string Checkpoint { get; set; } = "";

    [Option("format", Required = true, MetaValue = "peft|onnx_adapter|safetensors", HelpText = "For Hugging Face PEFT, for ONNX Runtime (with the model that takes it, NAME.base.onnx), or A, S and B as they are.")]
    public string Format { get; set; } = "";

    [Option("out", Required = true, MetaValue = "PATH", HelpText = "A folder for peft, otherwise a file.")]
    public string Out { get; set; } = "";

    [Option("no-base", HelpText = "Write the .onnx_adapter alone: the NAME.base.onnx of an earlier export of these artifacts takes it too.")]
    public bool NoBase { get; set; }

    [Option("force", HelpText = "Replace an existing output.")]
    public bool Force { get; set; }

    public override int Run(Terminal terminal)
    {
        var format = Choice.Of("format", Format, ("peft", AdapterFormat.Peft), ("onnx_adapter", AdapterFormat.OnnxAdapter), ("safetensors", AdapterFormat.Safetensors));
        if (NoBase && format != AdapterFormat.OnnxAdapter)
            throw new UsageException($"--no-base says nothing to --format {Format}: only onnx_adapter comes with a model.");
        var artifacts = ArtifactSet.Open(Artifacts, Verification.Full);
        using var checkpoint = CheckpointStore.OpenNamed(Checkpoint, artifacts, terminal.Note);
        var report = AdapterExporter.Export(artifacts, checkpoint, format, Out, !NoBase, Force);
        terminal.Result($"{string.Join(", ", report.Files.Select(f => Path.GetRelativePath(".", f)))}: {report.Targets} deltas of rank {report.Rank}");
        if (report.LeftOut > 0)
        {
            terminal.Note(string.Create(CultureInfo.InvariantCulture,
                $"the residuals were rounded to {artifacts.Manifest.ResidualType}; an adapter of rank {report.Rank} comes within {report.LeftOut:p1} of what distinguishes the merged weights from the original ones"));
        }
        if (Json)
            terminal.ResultJson(new { Format, report.Targets, report.Rank, report.LeftOut, report.Files });
        return ExitCode.Done;
    }
}
