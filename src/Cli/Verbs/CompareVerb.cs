using System.Globalization;
using System.Text.Json;
using CommandLine;
using SorsaOrt.Artifacts;
using SorsaOrt.Report;
using SorsaOrt.Trainer;

namespace SorsaOrt.Cli.Verbs;

[Verb("compare", HelpText = "Train several methods on the same data, order, rank and budget, and set them side by side.")]
internal sealed class CompareVerb : VerbOptions
{
    private const string ResultFile = "result.json";
    private const string SettingsFile = "compare.json";

    [Option("model", Required = true, MetaValue = "model.onnx", HelpText = "The model to start from.")]
    public string Model { get; set; } = "";

    [Option("data", Required = true, MetaValue = "FILE", HelpText = "Rows to train on.")]
    public string Data { get; set; } = "";

    [Option("eval-data", Required = true, MetaValue = "FILE", HelpText = "Rows held back, for the evaluation loss.")]
    public string EvalData { get; set; } = "";

    [Option("out", Required = true, MetaValue = "FOLDER", HelpText = "Folder for the runs and the comparison. A second start goes on where the first was stopped.")]
    public string Out { get; set; } = "";

    [Option("methods", Default = "sorsa,pissa,lora,full", HelpText = "Methods, comma separated.")]
    public string Methods { get; set; } = "sorsa,pissa,lora,full";

    [Option("lr", Required = true, MetaValue = "[METHOD=]RATE[,RATE]", HelpText = "Learning rates to try, for all methods or for one; give it again for another.")]
    public IEnumerable<string> Rates { get; set; } = [];

    [Option("seeds", Default = "0", HelpText = "Seeds, comma separated.")]
    public string Seeds { get; set; } = "0";

    [Option("rank", Default = 16, HelpText = "Adapter rank of every method but full.")]
    public int Rank { get; set; } = 16;

    [Option("tokenizer", MetaValue = "FILE", HelpText = "Not needed for rows of input_ids.")]
    public string? Tokenizer { get; set; }

    [Option("task-data", MetaValue = "FILE", HelpText = "Questions for the exact match of the merged models (needs --tokenizer).")]
    public string? TaskData { get; set; }

    [Option("task-metric", Default = "gsm8k", MetaValue = "gsm8k|math", HelpText = "How their answers are compared.")]
    public string TaskMetric { get; set; } = "gsm8k";

    [Option("build-config", MetaValue = "FILE.json", HelpText = "Further options of build-artifacts, the same for every method.")]
    public string? BuildConfig { get; set; }

    [Option("train-config", MetaValue = "FILE.json", HelpText = "Further options of train, the same for every method.")]
    public string? TrainConfig { get; set; }

    [Option("evaluate-config", MetaValue = "FILE.json", HelpText = "Further options of evaluate.")]
    public string? EvaluateConfig { get; set; }

    public override int Run(Terminal terminal)
    {
        var runs = Planned();
        using var stop = new StopSignals(); // a signal reaches the children too: they save and end
        KeepSettings();
        var finished = new List<ComparedRun>();
        foreach (var (method, rate, seed) in runs)
        {
            var folder = Path.Combine(Out, string.Create(CultureInfo.InvariantCulture, $"{method}-lr{rate}-seed{seed}"));
            terminal.Note($"== {Path.GetFileName(folder)} ({finished.Count + 1} of {runs.Count})");
            var (code, run) = Finished(folder) is { } before ? (ExitCode.Done, before) : Train(method, rate, seed, folder);
            if (code != ExitCode.Done || stop.Token.IsCancellationRequested)
                return code == ExitCode.Done ? ExitCode.Interrupted : code;
            finished.Add(run!);
        }
        MethodComparison.Write(Out, Title(), finished);
        foreach (var line in MethodComparison.Markdown(finished))
            terminal.Result(line);
        terminal.Result(Path.Combine(Out, MethodComparison.Page));
        if (Json)
            terminal.ResultJson(new { Runs = finished });
        return ExitCode.Done;
    }

    private List<(string Method, double Rate, long Seed)> Planned()
    {
        if (TaskData is not null && Tokenizer is null)
            throw new UsageException("--task-data needs --tokenizer.");
        foreach (var (option, path) in ((string, string?)[])[("model", Model), ("data", Data), ("eval-data", EvalData), ("tokenizer", Tokenizer), ("task-data", TaskData)])
        {
            if (path is not null && !Path.Exists(path))
                throw new UsageException($"--{option}: there is no file '{Printable.Text(path)}'.");
        }
        foreach (var (verb, path) in ((Type, string?)[])[(typeof(BuildArtifactsVerb), BuildConfig), (typeof(TrainVerb), TrainConfig), (typeof(EvaluateVerb), EvaluateConfig)])
        {
            if (path is not null)
                ConfigFile.Check(path, verb);
        }
        var methods = Methods.Split(',', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries).Distinct().ToList();
        foreach (var method in methods)
            _ = Choice.Of("methods", method, ("sorsa", 0), ("pissa", 0), ("lora", 0), ("full", 0));
        var seeds = Seeds.Split(',').Select(s => long.TryParse(s, NumberStyles.None, CultureInfo.InvariantCulture, out var seed) ? seed
            : throw new UsageException($"--seeds '{Printable.Text(Seeds)}': numbers from 0 on, separated by commas, are needed.")).ToList();
        var rates = Rates.Select(ParseRates).ToList();
        if (rates.FirstOrDefault(r => r.Method.Length > 0 && !methods.Contains(r.Method)) is { Method: { } unknown })
            throw new UsageException($"--lr {Printable.Text(unknown)}=…: that method is not among --methods {Printable.Text(Methods)}.");
        var planned = new List<(string, double, long)>();
        foreach (var method in methods)
        {
            var own = rates.Where(r => r.Method == method).ToList();
            var chosen = (own.Count > 0 ? own : rates.Where(r => r.Method.Length == 0)).SelectMany(r => r.Values).Distinct().Order().ToList();
            if (chosen.Count == 0)
                throw new UsageException($"--lr: no learning rate for {method}; give one for all methods, or {method}=RATE.");
            planned.AddRange(chosen.SelectMany(rate => seeds.Select(seed => (method, rate, seed))));
        }
        return planned;
    }

    private static (string Method, double[] Values) ParseRates(string text)
    {
        var at = text.IndexOf('=', StringComparison.Ordinal);
        return (at < 0 ? "" : text[..at], [.. text[(at + 1)..].Split(',').Select(r =>
            double.TryParse(r, NumberStyles.Float, CultureInfo.InvariantCulture, out var rate) && rate > 0 && double.IsFinite(rate) ? rate
                : throw new UsageException($"--lr '{Printable.Text(text)}': positive numbers are needed, such as 1e-3,2e-3 or lora=3e-3."))]);
    }

    // Runs of other settings must not stand in one comparison.
    private void KeepSettings()
    {
        var path = Path.Combine(Out, SettingsFile);
        var settings = JsonSerializer.SerializeToUtf8Bytes(new
        {
            Model,
            Data,
            EvalData,
            Rank,
            Tokenizer,
            TaskData,
            TaskMetric,
            Build = ContentOf(BuildConfig),
            Train = ContentOf(TrainConfig),
            Evaluate = ContentOf(EvaluateConfig),
        }, JsonSettings.Indented);
        if (!File.Exists(path))
            AtomicFile.Write(path, settings);
        else if (!settings.AsSpan().SequenceEqual(File.ReadAllBytes(path)))
            throw new UsageException($"'{Out}' holds a comparison with other settings (see {SettingsFile} there); methods, learning rates and seeds may be added, the rest must stay. Choose another --out.");
    }

    private static string? ContentOf(string? path) => path is null ? null : File.ReadAllText(path);

    private static ComparedRun? Finished(string folder)
    {
        var path = Path.Combine(folder, ResultFile);
        try
        {
            return File.Exists(path) ? JsonSerializer.Deserialize<ComparedRun>(File.ReadAllBytes(path), JsonSettings.Indented)! with { Folder = folder } : null;
        }
        catch (JsonException e)
        {
            throw new UsageException($"'{path}' is damaged ({e.Message}); delete it, and the run is looked at again.", e);
        }
    }

    private (int ExitCode, ComparedRun? Run) Train(string method, double rate, long seed, string folder)
    {
        string In(string name) => Path.Combine(folder, name);
        var seedText = seed.ToString(CultureInfo.InvariantCulture);
        var artifacts = In("artifacts");
        var run = In(ComparedRun.RunFolder);
        var code = ExitCode.Done;
        if (!File.Exists(Path.Combine(artifacts, ArtifactFiles.Manifest)))
            (code, _) = ChildSorsa.Run(["build-artifacts", "--model", Model, "--out", artifacts, "--method", method, "--rank", Text(Rank), "--seed", seedText, .. Further(BuildConfig)]);
        if (code != ExitCode.Done)
            return (code, null);
        var isBegun = File.Exists(Path.Combine(run, RunRecord.FileName));
        (code, var trained) = ChildSorsa.Run(isBegun ? ["train", "--resume", run] : ["train", "--artifacts", artifacts, "--data", Data, "--eval-data", EvalData, "--out", run,
            "--lr", Text(rate), "--seed", seedText, .. Optional("--tokenizer", Tokenizer), .. Further(TrainConfig)]);
        if (code != ExitCode.Done)
            return (code, null);
        double? accuracy = null;
        if (TaskData is not null)
        {
            (code, _) = ChildSorsa.Run(["merge", "--artifacts", artifacts, "--checkpoint", run, "--out", In("merged.onnx"), "--force"]);
            if (code != ExitCode.Done)
                return (code, null);
            (code, var answered) = ChildSorsa.Run(["evaluate", "--model", In("merged.onnx"), "--data", TaskData, "--metric", TaskMetric, "--tokenizer", Tokenizer!, .. Further(EvaluateConfig)]);
            if (code != ExitCode.Done)
                return (code, null);
            accuracy = answered!.Value.GetProperty("accuracy").GetDouble();
        }
        var trainable = ArtifactSet.Open(artifacts, Verification.Sizes).Manifest.ParameterCount;
        var result = new ComparedRun(method, rate, seed, folder, trainable, trained!.Value.GetProperty("eval_loss").GetDouble(), accuracy,
            RunCurves.Read(run).Training("seconds").Values.Sum(), trained.Value.GetProperty("peak_memory_bytes").GetInt64());
        AtomicFile.Write(In(ResultFile), JsonSerializer.SerializeToUtf8Bytes(result, JsonSettings.Indented), force: true);
        return (ExitCode.Done, result);
    }

    private string Title() => string.Create(CultureInfo.InvariantCulture,
        $"{Path.GetFileName(Model)} trained on {Path.GetFileName(Data)}, evaluated on {Path.GetFileName(EvalData)}, rank {Rank}; the same rows in the same order for every method.");

    private static string Text(IFormattable value) => value.ToString(null, CultureInfo.InvariantCulture);

    private static string[] Optional(string option, string? value) => value is null ? [] : [option, value];

    private static string[] Further(string? file) => Optional("--config", file);
}
