using CommandLine;
using SorsaOrt.Artifacts;
using SorsaOrt.Artifacts.OrtFormats;

namespace SorsaOrt.Cli.Verbs;

[Verb("convert-checkpoint", HelpText = "Turn a checkpoint of a run into one of ONNX Runtime's official training, or such a file into a checkpoint of a run.")]
internal sealed class ConvertCheckpointVerb : VerbOptions
{
    [Option("artifacts", Required = true, MetaValue = "DIR", HelpText = "Artifacts of `sorsa build-artifacts`.")]
    public string Artifacts { get; set; } = "";

    [Option("checkpoint", Required = true, MetaValue = "RUN|RUN/checkpoints/step-N|FILE", HelpText = "A checkpoint of a run, or the file `checkpoint` of the official runtime.")]
    public string Checkpoint { get; set; } = "";

    [Option("out", Required = true, MetaValue = "FILE|RUN", HelpText = "The official file; or, from one, the run that gets a checkpoint (merge, evaluate and generate need no more of it).")]
    public string Out { get; set; } = "";

    [Option("force", HelpText = "Replace an existing output.")]
    public bool Force { get; set; }

    public override int Run(Terminal terminal)
    {
        var artifacts = ArtifactSet.Open(Artifacts, Verification.Full);
        var (path, step) = File.Exists(Checkpoint) ? FromOfficial(artifacts) : ToOfficial(artifacts, terminal);
        terminal.Result($"{path}: step {step}");
        if (Json)
            terminal.ResultJson(new { Path = path, Step = step });
        return ExitCode.Done;
    }

    private (string Path, long Step) ToOfficial(ArtifactSet artifacts, Terminal terminal)
    {
        using var checkpoint = CheckpointStore.OpenNamed(Checkpoint, artifacts, terminal.Note);
        using var file = new AtomicFile(Out, Force);
        OrtCheckpointConversion.Write(checkpoint, artifacts, file.Stream);
        file.Commit();
        return (Out, checkpoint.State.Step);
    }

    private (string Path, long Step) FromOfficial(ArtifactSet artifacts)
    {
        using var official = OrtCheckpoint.Open(Checkpoint);
        var step = official.Optimizer?.Step ?? 0;
        if (File.Exists(Out))
            throw new OutputExistsException($"'{Out}' is a file; give --out the folder of a run, new or not.");
        var path = new CheckpointStore(Out).PathOf(step);
        if (!Force && Directory.Exists(path))
            throw new OutputExistsException($"'{path}' is there already; give --force to replace it, or another --out.");
        return (OrtCheckpointConversion.Read(official, artifacts, Out), step);
    }
}
