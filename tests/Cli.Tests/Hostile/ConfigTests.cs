using SorsaOrt.TestSupport;
using Xunit;

namespace SorsaOrt.Cli.Tests.Hostile;

/// <summary>Bad settings, one at a time, on the command line and in a --config file.</summary>
public sealed class ConfigTests
{
    /// <summary>Setting of the corpus → our verb and option; {} stands for the value.</summary>
    private static readonly Dictionary<string, (string Verb, string Option, string Value)> Options = new(StringComparer.Ordinal)
    {
        ["rank"] = ("build-artifacts", "rank", "{}"),
        ["alpha"] = ("build-artifacts", "alpha", "{}"),
        ["targets"] = ("build-artifacts", "targets", "{}"),
        ["dropout"] = ("build-artifacts", "dropout", "{}"),
        ["gamma"] = ("train", "gamma", "{}"),
        ["learning_rate"] = ("train", "lr", "{}"),
        ["batch_size"] = ("train", "batch-size", "{}"),
        ["gradient_accumulation"] = ("train", "accumulation", "{}"),
        ["max_length"] = ("train", "max-length", "{}"),
        ["epochs"] = ("train", "epochs", "{}"),
        ["max_steps"] = ("train", "max-steps", "{}"),
        ["warmup_ratio"] = ("train", "warmup", "{}"),
        ["weight_decay"] = ("train", "weight-decay", "{}"),
        ["max_grad_norm"] = ("train", "max-grad-norm", "{}"),
        ["adam_beta1"] = ("train", "betas", "{},0.999"),
        ["adam_epsilon"] = ("train", "eps", "{}"),
        ["seed"] = ("train", "seed", "{}"),
        ["provider"] = ("train", "device", "{}"),
        ["save_steps"] = ("train", "save-every", "{}"),
    };

    public static TheoryData<string> Ids => HostileCorpus.Load("config") is { Count: > 0 } cases
        ? [.. cases.Where(c => c.Json.ContainsKey("param") && !c.Json.ContainsKey("twice")).Select(c => c.Id)] : ["absent"];

    [Theory]
    [MemberData(nameof(Ids))]
    public void Setting_OnTheCommandLine(string id)
    {
        var (hostile, option, value) = Setting(id);
        Check(hostile, option.Option, value, run => Run(option.Verb, run, $"--{option.Option}={value}"));
    }

    [Theory]
    [MemberData(nameof(Ids))]
    public void Setting_InAConfigFile(string id)
    {
        var (hostile, option, value) = Setting(id);
        using var folder = new TemporaryFolder();
        File.WriteAllText(folder.At("settings.json"), System.Text.Json.JsonSerializer.Serialize(new Dictionary<string, string> { [option.Option] = value }));
        Check(hostile, option.Option, value, run => Run(option.Verb, run, "--config", folder.At("settings.json")));
    }

    private static (HostileCase, (string Verb, string Option, string Value), string Value) Setting(string id)
    {
        var hostile = Corpus.Get(id);
        var option = Options[hostile.Json["param"]!.GetValue<string>()];
        return (hostile, option, option.Value.Replace("{}", hostile.Json["value"]!.GetValue<string>(), StringComparison.Ordinal));
    }

    private static void Check(HostileCase hostile, string option, string value, Func<string, CommandOutcome> run)
    {
        using var folder = new TemporaryFolder();
        var outcome = run(folder.At("out")).ExpectNoTrace();
        Assert.True(hostile.Expect switch { "accept" => outcome.ExitCode == 0, "reject" => outcome.ExitCode == 2, _ => outcome.ExitCode is 0 or 2 },
            $"{hostile.Id}: {hostile.Expect} is due, but exit code {outcome.ExitCode}:\n{outcome.Out}{outcome.Error}");
        if (outcome.ExitCode == 0)
            return;
        Assert.Contains("--" + option, outcome.Error, StringComparison.Ordinal);
        Assert.Empty(folder.Everything());
    }

    private static CommandOutcome Run(string verb, string output, params string[] setting) => verb == "train"
        ? Sorsa.Run(["train", "--artifacts", SmallModels.TinyMathArtifacts, "--data", Paths.TinyMath("test.jsonl"), "--tokenizer", Paths.TinyMath("tokenizer.model"),
            "--out", output, "--threads", "1", .. Unless(setting, "max-steps", "epochs"), .. Unless(setting, "batch-size"), .. Unless(setting, "accumulation"),
            .. Unless(setting, "max-length"), .. setting])
        : Sorsa.Run(["build-artifacts", "--model", Paths.Fixture("nano-llama", "optimum-no-past.onnx"), "--out", output, .. Unless(setting, "rank"), .. setting]);

    // The value that makes the run short, where the setting under test is another one.
    private static string[] Unless(string[] setting, params string[] options)
    {
        var given = setting[^1].EndsWith(".json", StringComparison.Ordinal) ? File.ReadAllText(setting[^1]) : setting[0];
        return options.Any(o => given.Contains(o, StringComparison.Ordinal)) ? [] : options[0] switch
        {
            "max-steps" => ["--max-steps", "1"],
            "batch-size" => ["--batch-size", "2"],
            "accumulation" => ["--accumulation", "1"],
            "max-length" => ["--max-length", "64"],
            _ => ["--rank", "4"],
        };
    }
}
