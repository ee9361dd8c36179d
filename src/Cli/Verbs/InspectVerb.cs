using System.Globalization;
using CommandLine;
using SorsaOrt.Artifacts;
using SorsaOrt.Data;
using SorsaOrt.GraphBuilder;
using SorsaOrt.GraphBuilder.Memory;
using SorsaOrt.Ir;
using SorsaOrt.Ir.Serialization;
using SorsaOrt.Trainer;

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
    public int Limit { get; set; } = 3;

    [Option("max-length", Default = 512, HelpText = "Longest row in tokens, for --data and the memory plan.")]
    public int MaxLength { get; set; } = 512;

    [Option("skip-bad-rows", HelpText = "For --data: count and skip rows that cannot be used.")]
    public bool SkipBadRows { get; set; }

    [Option("batch-size", Default = 2, HelpText = "Memory plan: rows of a micro-batch.")]
    public int BatchSize { get; set; } = 2;

    [Option("label-share", Default = 1.0, HelpText = "Memory plan: share of the tokens that carry a label.")]
    public double LabelShare { get; set; } = 1.0;

    [Option("rank", HelpText = "Memory plan of a model: rank of every adapter (default 128, or less where a target is smaller).")]
    public int? Rank { get; set; }

    [Option("method", Default = "sorsa", MetaValue = "sorsa|pissa|lora|full", HelpText = "Memory plan of a model: what is trained.")]
    public string Method { get; set; } = "sorsa";

    [Option("targets", MetaValue = "LIST", HelpText = "Memory plan of a model: what is trained, as for build-artifacts.")]
    public string? Targets { get; set; }

    [Option("recompute", Default = "none", MetaValue = "none|layer", HelpText = "Memory plan of a model: what the backward pass computes again.")]
    public string Recompute { get; set; } = "none";

    [Option("residual-dtype", MetaValue = "fp32|fp16|bf16|int8|int4", HelpText = "Memory plan of a model: how the frozen residual is stored. Default: fp32; weights that arrive quantised stay as they are.")]
    public string? ResidualType { get; set; }

    [Option("compute-dtype", Default = "fp32", MetaValue = "fp32|fp16|bf16", HelpText = "Memory plan of a model: what the products with frozen weights and of attention compute in.")]
    public string ComputeType { get; set; } = "fp32";

    public override string? Subject => Model.Length > 0 ? Model : null;

    public override int Run(Terminal terminal)
    {
        if ((DataFile is null) == (Model.Length == 0))
            throw new UsageException("give either --model or --data (with --tokenizer where its rows are text).");
        if (DataFile is not null)
            return DescribeRows(terminal);
        if (File.Exists(Path.Combine(Model, ArtifactFiles.Manifest)))
            return DescribeArtifacts(terminal);
        if (File.Exists(Path.Combine(Model, RunRecord.FileName)))
            return DescribeRun(terminal);
        if (Directory.Exists(Model))
            throw new UsageException($"--model '{Model}' is a folder, but neither of artifacts (no {ArtifactFiles.Manifest}) nor of a run (no {RunRecord.FileName}); give one of those, or a model.onnx.");
        using var model = OnnxReader.Read(Model);
        var (family, opset, producer) = (ExportFamily.Describe(model), model.Opset, $"{model.ProducerName} {model.ProducerVersion}".Trim());
        var parameters = ExportFamily.Parameters(model);
        var nodes = model.Graph.Nodes.Count;
        var sites = PreparedModel.From(model).Sites;
        var plan = PlanOfModel(terminal);
        terminal.Result(string.Create(CultureInfo.InvariantCulture, $"{family}, producer {producer}, opset {opset}, {nodes} nodes, {parameters:N0} parameters, {sites.Count} Linears"));
        foreach (var site in sites)
            terminal.Result($"  {site.Module}  {site.Role}  {site.Out} × {site.In}  {site.Weight.Constant!.ElementType.ShortName()}{TieOf(model.Graph, site)}");
        if (plan is not null)
            MemoryTable.Print(terminal, plan);
        if (Json)
        {
            terminal.ResultJson(new
            {
                Family = family,
                Opset = opset,
                Parameters = parameters,
                Linears = sites.Select(s => new { Name = s.Module, s.Role, s.In, s.Out, Dtype = s.Weight.Constant!.ElementType.ShortName(), Tied = s.IsShared, Tie = TiedWeights.Of(model.Graph, s) switch { Tie.Shared => "shared", Tie.EqualContents => "equal contents, stored twice", _ => "none" } }),
                Memory = plan is null ? null : MemoryTable.Json(plan),
            });
        }
        return ExitCode.Done;
    }

    private static string TieOf(Graph graph, LinearSite site) => TiedWeights.Of(graph, site) switch
    {
        Tie.Shared => $"  tied: one tensor, '{site.WeightName}', with {string.Join(", ", site.OtherReaders.Select(n => $"'{n.Name}' ({n.OpType})"))}",
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

    // From the file again: planning turns the graph into the training graph.
    private MemoryPlan? PlanOfModel(Terminal terminal)
    {
        var isAsked = Rank is not null || Targets is not null;
        var lengths = Lengths();
        try
        {
            using var model = OnnxReader.Read(Model);
            var prepared = PreparedModel.From(model);
            return PlannedModel.Of(prepared, PlannedBuild(prepared), lengths);
        }
        catch (Exception e) when (!isAsked && e is UnsupportedGraphException or TargetException)
        {
            terminal.Note($"No memory plan: {e.Message}");
            return null;
        }
    }

    private BuildOptions PlannedBuild(PreparedModel prepared)
    {
        var method = Choice.Of("method", Method, ("sorsa", AdapterMethod.Sorsa), ("pissa", AdapterMethod.Pissa), ("lora", AdapterMethod.Lora), ("full", AdapterMethod.Full));
        var targets = Targets ?? TargetSelection.Default;
        if (Rank is < 1)
            throw new UsageException($"--rank {Rank}: at least 1 is needed.");
        return new BuildOptions
        {
            ModelPath = Model,
            OutputFolder = "",
            Method = method,
            Targets = targets,
            Rank = Rank ?? Math.Min(128, TargetSelection.Select(prepared.Sites, targets).Min(t => Math.Min(t.In, t.Out))),
            ResidualType = Choice.ResidualType(ResidualType),
            ComputeType = Choice.ComputeType(ComputeType, method),
            Recompute = Choice.Of("recompute", Recompute, ("none", Recomputation.None), ("layer", Recomputation.Layer)),
        };
    }

    private BatchLengths Lengths()
    {
        if (BatchSize < 1 || MaxLength < 2 || !(LabelShare is > 0 and <= 1))
            throw new UsageException(string.Create(CultureInfo.InvariantCulture,
                $"--batch-size {BatchSize}, --max-length {MaxLength}, --label-share {LabelShare}: at least 1, at least 2, and above 0 up to 1 are needed."));
        var tokens = (long)BatchSize * MaxLength;
        return new BatchLengths(BatchSize, MaxLength, Math.Max(1, (long)(tokens * LabelShare)));
    }

    private int DescribeRun(Terminal terminal)
    {
        var run = RunDescription.Of(Model);
        foreach (var line in run.Lines())
            terminal.Result(line);
        if (Json)
            terminal.ResultJson(run);
        return ExitCode.Done;
    }

    private int DescribeArtifacts(Terminal terminal)
    {
        var lengths = Lengths();
        var artifacts = ArtifactSet.Open(Model, Verification.Full);
        var manifest = artifacts.Manifest;
        terminal.Result(string.Create(CultureInfo.InvariantCulture,
            $"artifacts of {manifest.Source.FileName} ({manifest.Source.Family}): {manifest.Method}, rank {manifest.Rank}, {manifest.Targets.Count} targets, {manifest.ParameterCount:N0} trainable parameters, residual {manifest.ResidualType}, products in {manifest.ComputeType ?? "f32"}, recompute {manifest.Recompute.ToString().ToLowerInvariant()}"));
        using var training = OnnxReader.Read(artifacts.PathOf(ArtifactFiles.TrainingModel));
        var plan = MemoryPlan.Of(training.Graph, [.. manifest.Parameters.Select(p => p.ElementCount)], lengths);
        MemoryTable.Print(terminal, plan);
        if (Json)
            terminal.ResultJson(new { Source = manifest.Source.FileName, Method = manifest.Method.ToString(), manifest.Rank, Targets = manifest.Targets.Select(t => t.Module), manifest.ParameterCount, Memory = MemoryTable.Json(plan) });
        return ExitCode.Done;
    }
}
