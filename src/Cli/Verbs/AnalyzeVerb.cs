using System.Globalization;
using System.Text.Json;
using CommandLine;
using SorsaOrt.Analysis;
using SorsaOrt.Artifacts;
using SorsaOrt.GraphBuilder;

namespace SorsaOrt.Cli.Verbs;

[Verb("analyze", HelpText = "How far training moved each weight: singular values and vectors beside those of the base model.")]
internal sealed class AnalyzeVerb : VerbOptions
{
    private const string Table = "analysis.json";
    private const string Picture = "analysis.png";

    [Option("base", Required = true, MetaValue = "model.onnx", HelpText = "The model before training.")]
    public string Base { get; set; } = "";

    [Option("model", Required = true, MetaValue = "[LABEL=]merged.onnx", HelpText = "A model after it; give it again for others. Models of one label make a path.")]
    public IEnumerable<string> Models { get; set; } = [];

    [Option("out", Required = true, MetaValue = "FOLDER", HelpText = "Folder for analysis.json and analysis.png.")]
    public string Out { get; set; } = "";

    [Option("targets", Default = TargetSelection.Default, MetaValue = "LIST", HelpText = "Which Linears, as build-artifacts takes them.")]
    public string Targets { get; set; } = TargetSelection.Default;

    [Option("rank", HelpText = "Compare the leading N singular triples only (default: all).")]
    public int? Rank { get; set; }

    [Option("threads", HelpText = "Threads; default: all processors.")]
    public int? Threads { get; set; }

    [Option("force", HelpText = "Replace an existing analysis.")]
    public bool Force { get; set; }

    public override int Run(Terminal terminal)
    {
        if (Rank is < 1)
            throw new UsageException($"--rank {Rank}: at least 1 is needed; leave it out to compare all singular triples.");
        string[] outputs = [Path.Combine(Out, Table), Path.Combine(Out, Picture)];
        if (!Force && outputs.FirstOrDefault(Path.Exists) is { } existing)
            throw OutputExistsException.At(existing);
        using var comparison = new ModelComparison(Base, [.. Models.Select(Parse)], Targets);
        var movements = comparison.Run(Rank ?? 0, Choice.Threads(Threads), done => terminal.Progress($"{done} of {comparison.TargetCount} targets"));
        var result = Describe(movements);
        AtomicFile.Write(outputs[0], JsonSerializer.SerializeToUtf8Bytes(result, JsonSettings.Indented), Force);
        AtomicFile.Write(outputs[1], MovementPlot.Draw(movements), Force);
        foreach (var model in movements)
            terminal.Result(string.Create(CultureInfo.InvariantCulture, $"{model.Model.Label}: ΔΣ {model.MeanSigma:g4}, ΔD {model.Directions:g4} (means over {model.Targets.Count} targets)"));
        terminal.Result(outputs[1]);
        if (Json)
            terminal.ResultJson(result);
        return ExitCode.Done;
    }

    // A path may hold '=': what exists as a file is no label.
    private static TrainedModel Parse(string model)
    {
        var at = model.IndexOf('=', StringComparison.Ordinal);
        return at <= 0 || File.Exists(model) ? new TrainedModel(Path.GetFileNameWithoutExtension(model), model) : new TrainedModel(model[..at], model[(at + 1)..]);
    }

    private object Describe(IReadOnlyList<ModelMovement> movements) => new
    {
        Base,
        Rank,
        Models = movements.Select(m => new
        {
            m.Model.Label,
            m.Model.Path,
            MeanDeltaSigma = m.MeanSigma,
            DeltaD = m.Directions,
            Targets = m.Targets.Select(t => new { Name = t.Module, t.Role, MeanDeltaSigma = t.Movement.MeanSigma, DeltaD = t.Movement.Directions }),
        }),
    };
}
