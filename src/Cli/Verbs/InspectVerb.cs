using System.Globalization;
using CommandLine;
using SorsaOrt.Artifacts;
using SorsaOrt.Data;
using SorsaOrt.GraphBuilder;
using SorsaOrt.Ir;
using SorsaOrt.Ir.Serialization;

namespace SorsaOrt.Cli.Verbs;

[Verb("inspect", HelpText = "Say what a model, artifacts or run folder holds.")]
internal sealed class InspectVerb : VerbOptions
{
    [Option("model", MetaValue = "model.onnx|DIR|RUN", HelpText = "A model, or an artifacts or run folder.")]
    public string Model { get; set; } = "";

    [Option("data", MetaValue = "FILE", HelpText = "In place of --model: rows to show as tokens, those that are learnt in [ ].")]
    public string? DataFile { get; set; }

    [Option("tokenizer", MetaValue = "FILE", HelpText = "For --data: tokenizer.json or tokenizer.model, or the folder that holds it.")]
    public string? Tokenizer { get; set; }

    [Option("template", Default = "alpaca", MetaValue = "alpaca|alpaca-cot|chatml|none|FILE", HelpText = "For --data: how a row becomes text.")]
    public string Template { get; set; } = "alpaca";

    [Option("limit", Default = 3, HelpText = "For --data: rows to show.")]
    public int Limit { get; set; }

    [Option("max-length", Default = 512, HelpText = "For --data: longest row in tokens.")]
    public int MaxLength { get; set; }

    [Option("skip-bad-rows", HelpText = "For --data: count and skip rows that cannot be used.")]
    public bool SkipBadRows { get; set; }

    public override int Run(Terminal terminal)
    {
        if ((DataFile is null) == (Model.Length == 0))
            throw new UsageException("give --model, or --data with --tokenizer.");
        if (DataFile is not null)
            return DescribeRows(terminal);
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

    private int DescribeRows(Terminal terminal)
    {
        if (Limit < 0 || MaxLength < 2)
            throw new UsageException("--limit must be at least 0, --max-length at least 2.");
        var tokenizer = Tokenizer is null ? null : Data.Tokenizer.Load(Tokenizer);
        var encoder = new RowEncoder(tokenizer, Data.Template.Load(Template), MaxLength, tokenizer?.VocabularySize ?? int.MaxValue);
        using var file = RowFile.Open(DataFile!, encoder.Check, SkipBadRows);
        long tokens = 0, learnt = 0;
        int longest = 0, full = 0;
        for (var i = 0; i < file.Count; i++)
        {
            var row = encoder.Encode(file, file.Read(i));
            if (i < Limit)
                terminal.Result(RowText.Of(row, file.LineOf(i), tokenizer));
            tokens += row.InputIds.Length;
            learnt += row.Labels.Count(l => l >= 0);
            longest = Math.Max(longest, row.InputIds.Length);
            full += row.InputIds.Length == MaxLength ? 1 : 0;
        }
        terminal.Result(string.Create(CultureInfo.InvariantCulture,
            $"{file.Count} rows, {file.SkippedCount} skipped, {tokens:N0} tokens, {learnt:N0} learnt; the longest has {longest}, {full} fill {MaxLength} or were cut to it"));
        if (file.FirstSkipped is { } first)
            terminal.Note("the first row skipped: " + Printable.Text(first));
        if (Json)
            terminal.ResultJson(new { Rows = file.Count, Skipped = file.SkippedCount, Tokens = tokens, Learnt = learnt, Longest = longest });
        return ExitCode.Done;
    }

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
