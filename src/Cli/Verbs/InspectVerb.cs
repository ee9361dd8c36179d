using System.Globalization;
using CommandLine;
using SorsaOrt.Artifacts;
using SorsaOrt.GraphBuilder;
using SorsaOrt.Ir;
using SorsaOrt.Ir.Serialization;

namespace SorsaOrt.Cli.Verbs;

[Verb("inspect", HelpText = "Say what a model, artifacts or run folder holds.")]
internal sealed class InspectVerb : VerbOptions
{
    [Option("model", Required = true, MetaValue = "model.onnx|DIR|RUN", HelpText = "A model, or an artifacts or run folder.")]
    public string Model { get; set; } = "";

    public override int Run(Terminal terminal)
    {
        if (File.Exists(Path.Combine(Model, ArtifactFiles.Manifest)))
            return DescribeArtifacts(terminal);
        using var model = OnnxReader.Read(Model);
        var (family, opset, producer) = (ExportFamily.Describe(model), model.Opset, $"{model.ProducerName} {model.ProducerVersion}".Trim());
        var parameters = model.Graph.Initializers.Where(v => v.Constant!.ElementType.IsFloat()).Sum(v => v.Constant!.ElementCount);
        var nodes = model.Graph.Nodes.Count;
        var sites = PreparedModel.From(model).Sites;
        terminal.Result(string.Create(CultureInfo.InvariantCulture, $"{family}, producer {producer}, opset {opset}, {nodes} nodes, {parameters:N0} parameters, {sites.Count} Linears"));
        foreach (var site in sites)
            terminal.Result($"  {site.Module}  {site.Role}  {site.Out} × {site.In}  {site.Weight.Constant!.ElementType.ShortName()}{TieOf(model.Graph, site)}");
        if (Json)
        {
            terminal.ResultJson(new
            {
                Family = family,
                Opset = opset,
                Parameters = parameters,
                Linears = sites.Select(s => new { Name = s.Module, s.Role, s.In, s.Out, Dtype = s.Weight.Constant!.ElementType.ShortName(), Tied = s.IsShared, Tie = TiedWeights.Of(model.Graph, s) switch { Tie.Shared => "shared", Tie.EqualContents => "equal contents, stored twice", _ => "none" } }),
            });
        }
        return ExitCode.Done;
    }

    private static string TieOf(Graph graph, LinearSite site) => TiedWeights.Of(graph, site) switch
    {
        Tie.Shared => $"  tied: one tensor, '{site.Weight.Name}', with {string.Join(", ", site.OtherReaders.Select(n => $"'{n.Name}' ({n.OpType})"))}",
        Tie.EqualContents => "  tied: equal contents, stored twice",
        _ => "",
    };

    private int DescribeArtifacts(Terminal terminal)
    {
        var manifest = ArtifactSet.Open(Model, Verification.Full).Manifest;
        terminal.Result(string.Create(CultureInfo.InvariantCulture,
            $"artifacts of {manifest.Source.FileName} ({manifest.Source.Family}): {manifest.Method}, rank {manifest.Rank}, {manifest.Targets.Count} targets, {manifest.ParameterCount:N0} trainable parameters, residual {manifest.ResidualType}"));
        if (Json)
            terminal.ResultJson(new { Source = manifest.Source.FileName, Method = manifest.Method.ToString(), manifest.Rank, Targets = manifest.Targets.Select(t => t.Module), manifest.ParameterCount });
        return ExitCode.Done;
    }
}
