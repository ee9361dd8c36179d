using System.Diagnostics;
using System.Globalization;
using CommandLine;
using SorsaOrt.Artifacts;

namespace SorsaOrt.Cli.Verbs;

[Verb("demo", HelpText = "The whole way on a small model: evaluate, build, train, merge, evaluate again, generate.")]
internal sealed class DemoVerb : VerbOptions
{
    [Option("out", Default = "artifacts/demo", MetaValue = "DIR", HelpText = "Folder for everything the demo makes.")]
    public string Out { get; set; } = "artifacts/demo";

    [Option("threads", HelpText = "Threads; default: all processors.")]
    public int? Threads { get; set; }

    [Option("force", HelpText = "Replace an earlier demo.")]
    public bool Force { get; set; }

    private const string Question = "Nina has 45 apples. Nina sells 22. How many apples does Nina have now?";
    private readonly List<(string Name, TimeSpan Time)> _times = [];

    public override int Run(Terminal terminal)
    {
        var sample = FindSample();
        var model = Path.Combine(sample, "model.onnx");
        var tokenizer = Path.Combine(sample, "tokenizer.model");
        string In(string name) => Path.Combine(Out, name);
        var replace = ReplacesEarlierDemo();
        var threads = Choice.Threads(Threads);
        var before = Evaluate(terminal, "before", model, sample, threads);
        Step(terminal, "build-artifacts", new BuildArtifactsVerb { Model = model, Out = In("artifacts"), Rank = 16, Threads = threads, Force = replace });
        Step(terminal, "train", new TrainVerb
        {
            Artifacts = In("artifacts"),
            Data = Path.Combine(sample, "train.jsonl"),
            Out = In("run"),
            Tokenizer = tokenizer,
            MaxSteps = 150,
            BatchSize = 16,
            Accumulation = 1,
            MaxLength = 256,
            LearningRate = 2e-3,
            Keep = 1,
            Threads = threads,
            Force = replace,
        });
        Step(terminal, "merge", new MergeVerb { Artifacts = In("artifacts"), Checkpoint = In("run"), Out = In("merged.onnx"), Verify = true, Threads = threads, Force = replace });
        var after = Evaluate(terminal, "after", In("merged.onnx"), sample, threads);
        terminal.Result("");
        terminal.Result("| model        | exact match on 200 new word problems |");
        terminal.Result("|--------------|--------------------------------------|");
        terminal.Result(string.Create(CultureInfo.InvariantCulture, $"| as exported  | {before,4} of 200 ({before / 2.0:0.0} %) |"));
        terminal.Result(string.Create(CultureInfo.InvariantCulture, $"| after SORSA  | {after,4} of 200 ({after / 2.0:0.0} %) |"));
        terminal.Result("");
        terminal.Result("Question: " + Question);
        terminal.Result("Answer of the merged model:");
        Step(terminal, "generate", new GenerateVerb { Model = In("merged.onnx"), Tokenizer = tokenizer, Prompt = Question, MaxTokens = 64, Threads = threads });
        terminal.Result("");
        terminal.Result($"merged model  {In("merged.onnx")}");
        terminal.Result($"loss curve    {Path.Combine(In("run"), "loss.png")}  (page: report.html)");
        terminal.Result("time          " + string.Join(", ", _times.Select(t => $"{t.Name} {Terminal.Duration(t.Time)}")));
        if (Json)
            terminal.ResultJson(new { Before = before / 200.0, After = after / 200.0, Model = In("merged.onnx"), Seconds = _times.Sum(t => t.Time.TotalSeconds) });
        return ExitCode.Done;
    }

    private void Step(Terminal terminal, string name, VerbOptions verb)
    {
        terminal.Note($"== sorsa {name}");
        var watch = Stopwatch.StartNew();
        var code = verb.Run(terminal);
        _times.Add((name, watch.Elapsed));
        if (code != ExitCode.Done)
            throw new UsageException($"the demo ended in {name} with exit code {code}.");
    }

    private int Evaluate(Terminal terminal, string when, string model, string sample, int threads)
    {
        var verb = new EvaluateVerb
        {
            Model = model,
            DataFile = Path.Combine(sample, "test.jsonl"),
            Tokenizer = Path.Combine(sample, "tokenizer.model"),
            Metric = "gsm8k",
            BatchSize = 32,
            MaxTokens = 64,
            Threads = threads,
        };
        Step(terminal, $"evaluate ({when})", verb);
        return verb.LastCorrect;
    }

    // The steps replace what the earlier demo wrote; whatever else lies in the folder stays.
    private bool ReplacesEarlierDemo()
    {
        if (!Directory.Exists(Out) || !Directory.EnumerateFileSystemEntries(Out).Any())
            return false;
        var isDemo = File.Exists(Path.Combine(Out, "artifacts", ArtifactFiles.Manifest));
        return isDemo && (Force || Out == "artifacts/demo") ? true : throw Taken();
    }

    private OutputExistsException Taken() => new($"'{Out}' is not empty; give --force to replace an earlier demo, or choose another --out.");

    private static string FindSample()
    {
        for (var folder = new DirectoryInfo(AppContext.BaseDirectory); folder is not null; folder = folder.Parent)
        {
            var sample = Path.Combine(folder.FullName, "samples", "tiny-math");
            if (File.Exists(Path.Combine(sample, "model.onnx")))
                return sample;
        }
        throw new UsageException("the demo's model samples/tiny-math was not found above the program; run ./sorsa from a checkout.");
    }
}
