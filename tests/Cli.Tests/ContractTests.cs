using System.Reflection;
using System.Text.Json;
using CommandLine;
using SorsaOrt.Cli.Verbs;
using SorsaOrt.TestSupport;
using Xunit;

namespace SorsaOrt.Cli.Tests;

/// <summary>What the command line's contract says of options, files and exit codes, on nano-llama.</summary>
public sealed class ContractTests(ContractTests.Fixture fixture) : IClassFixture<ContractTests.Fixture>
{
    /// <summary>One run for all tests here, which leave it as it is.</summary>
    public sealed class Fixture : IDisposable
    {
        internal SmallRun Run { get; } = new();

        /// <inheritdoc/>
        public void Dispose() => Run.Dispose();
    }

    private static readonly string Model = Paths.Fixture("nano-llama", "optimum-no-past.onnx");

    private readonly SmallRun _run = fixture.Run;

    private CommandOutcome Build(string output, params string[] further) => Sorsa.Run(["build-artifacts", "--model", Model, "--out", _run.At(output), .. further]);

    private CommandOutcome Train(string output, params string[] further) =>
        Sorsa.Run(["train", "--artifacts", _run.Artifacts, "--data", _run.Data, "--out", _run.At(output), "--threads", "1", "--accumulation", "1", .. further]);

    private JsonElement[] Metrics(string output) =>
        [.. File.ReadLines(Path.Combine(_run.At(output), "metrics.jsonl")).Select(l => JsonDocument.Parse(l).RootElement)];

    [Fact]
    public void Defaults_AreTheSameForAVerbMadeInCode()
    {
        foreach (var verb in typeof(VerbOptions).Assembly.GetTypes().Where(t => t.GetCustomAttribute<VerbAttribute>() is not null))
        {
            var made = Activator.CreateInstance(verb);
            foreach (var option in verb.GetProperties())
            {
                if (option.GetCustomAttribute<OptionAttribute>() is { Default: { } value } attribute)
                    Assert.True(Equals(value, option.GetValue(made)), $"{verb.Name}: --{attribute.LongName} is {option.GetValue(made)} in code, {value} on the command line");
            }
        }
    }

    [Fact]
    public void Build_PrintsItsResultsAsTheLastLine()
    {
        var outcome = Build("json", "--rank", "3", "--targets", "q_proj,down_proj", "--json").Expect(0);

        var json = outcome.Json;
        Assert.Equal(["parameters", "trainable", "targets", "seconds", "peak_memory_bytes"], json.EnumerateObject().Select(p => p.Name));
        Assert.Equal(["name", "in", "out", "rank"], json.GetProperty("targets")[0].EnumerateObject().Select(p => p.Name));
        Assert.Equal(["svd", "total"], json.GetProperty("seconds").EnumerateObject().Select(p => p.Name));
        Assert.Equal(10, json.GetProperty("targets").GetArrayLength());
        // Of q (64 × 64) and down (172 → 64) in five layers: r·(in + out + 1).
        Assert.Equal(5 * 3 * (64 + 64 + 1 + 172 + 64 + 1), json.GetProperty("trainable").GetInt64());
    }

    [Theory]
    [InlineData("nope", "nope", "down_proj, gate_proj, k_proj, lm_head, o_proj, q_proj, up_proj, v_proj")]
    [InlineData("re:nothing$", "re:nothing$", "q_proj")]
    [InlineData("q_proj,nope", "nope", "q_proj")]
    [InlineData("re:(", "'('", "regular expression")]
    public void Targets_ThatMatchNothing_ListWhatExists(string targets, params string[] names)
    {
        Build("refused", "--targets", targets).ExpectRefusal().Names(names);
        Assert.False(Directory.Exists(_run.At("refused")));
    }

    [Fact]
    public void Targets_ByExpression_AreThoseThatMatch() => Assert.Equal(["model.layers.1.self_attn.k_proj", "model.layers.3.self_attn.k_proj"],
        Build("expression", "--rank", "2", "--targets", @"re:layers\.[13]\.self_attn\.k", "--json").Expect(0).Json.GetProperty("targets").EnumerateArray().Select(t => t.GetProperty("name").GetString()!));

    [Fact]
    public void Rank_AboveATarget_NamesIt()
    {
        Build("refused", "--rank", "33").ExpectRefusal().Names("--rank 33", "k_proj", "32");
        Assert.False(Directory.Exists(_run.At("refused")));
    }

    [Fact]
    public void Factors_TakeThePlaceOfTheDecomposition()
    {
        // The parameters of a built folder are such a file; with another rank they do not fit.
        Build("again", "--rank", "2", "--factors", Path.Combine(_run.Artifacts, "parameters.safetensors")).Expect(0);
        Assert.Equal(File.ReadAllBytes(Path.Combine(_run.Artifacts, "parameters.safetensors")), File.ReadAllBytes(Path.Combine(_run.At("again"), "parameters.safetensors")));
        Build("refused", "--rank", "3", "--factors", Path.Combine(_run.Artifacts, "parameters.safetensors")).ExpectRefusal().Names("parameters.safetensors");
        Build("refused", "--rank", "2", "--factors", _run.At("none.safetensors")).ExpectRefusal().Names("none.safetensors");
        Assert.False(Directory.Exists(_run.At("refused")));
    }

    [Fact]
    public void Config_GivesOptions_TheCommandLineWins_UnknownKeysAreRefused()
    {
        File.WriteAllText(_run.At("good.json"), """{"rank": 3, "targets": "q_proj", "json": true}""");
        File.WriteAllText(_run.At("bad.json"), """{"rank": 3, "rnak": 4}""");

        Assert.Equal(2, Build("configured", "--config", _run.At("good.json"), "--rank", "2").Expect(0).Json.GetProperty("targets")[0].GetProperty("rank").GetInt32());
        Build("refused", "--config", _run.At("bad.json")).ExpectRefusal().Names("bad.json", "rnak");
        Build("refused", "--config", _run.At("none.json")).ExpectRefusal().Names("none.json");
        foreach (var half in new[] { """{"targets": "\ud800"}""", """{"factors": ["\udc00"]}""", """{"\ud800": 1}""" })
        {
            File.WriteAllText(_run.At("half.json"), half);
            Build("refused", "--config", _run.At("half.json")).ExpectRefusal().Names("half.json", "Unicode");
        }
        Assert.False(Directory.Exists(_run.At("refused")));
    }

    [Fact]
    public void ExistingOutputs_StayWithoutForce()
    {
        var before = File.ReadAllBytes(Path.Combine(_run.Artifacts, "manifest.json"));
        Build("artifacts", "--rank", "3").ExpectRefusal().Names("artifacts' exists already", "--force");
        Assert.Equal(before, File.ReadAllBytes(Path.Combine(_run.Artifacts, "manifest.json")));
        Train("run", "--max-steps", "1").ExpectRefusal().Names("--resume", "--force");

        File.WriteAllText(_run.At("mine.onnx"), "mine");
        Sorsa.Run("merge", "--artifacts", _run.Artifacts, "--out", _run.At("mine.onnx")).ExpectRefusal().Names("mine.onnx' exists already");
        Assert.Equal("mine", File.ReadAllText(_run.At("mine.onnx")));
    }

    [Fact]
    public void WhatIsNoOutputOfOurs_StaysEvenWithForce()
    {
        Directory.CreateDirectory(_run.At("photos"));
        File.WriteAllText(_run.At("photos") + "/one.jpg", "a picture");
        File.WriteAllText(_run.At("note"), "a note");

        Build("photos", "--rank", "2", "--force").ExpectRefusal().Names("photos'");
        Build("note", "--rank", "2", "--force").ExpectRefusal().Names("note'");
        Train("photos", "--max-steps", "1", "--force").ExpectRefusal().Names("photos'");
        Train("note", "--max-steps", "1", "--force").ExpectRefusal().Names("note'");
        Sorsa.Run("merge", "--artifacts", _run.Artifacts, "--out", _run.At("photos"), "--force").ExpectRefusal().Names("photos' is a directory");

        // A folder of artifacts or of an adapter where something else lies as well.
        Build("mixed-artifacts", "--rank", "2").Expect(0);
        File.WriteAllText(_run.At("mixed-artifacts") + "/mine.txt", "a note");
        Build("mixed-artifacts", "--rank", "3", "--force").ExpectRefusal().Names("mine.txt", "mixed-artifacts'");
        Assert.Equal("a note", File.ReadAllText(_run.At("mixed-artifacts") + "/mine.txt"));
        File.Delete(_run.At("mixed-artifacts") + "/mine.txt");
        Build("mixed-artifacts", "--rank", "3", "--force").Expect(0);
        CommandOutcome Export(string format, string output) =>
            Sorsa.Run("export-adapter", "--artifacts", _run.Artifacts, "--checkpoint", _run.Run, "--format", format, "--out", output, "--force");
        Export("peft", _run.At("peft")).Expect(0);
        File.WriteAllText(_run.At("peft") + "/README.md", "a note");
        Export("peft", _run.At("peft")).ExpectRefusal().Names("README.md");
        Export("safetensors", Path.Combine(_run.Artifacts, "parameters.safetensors")).ExpectRefusal().Names("lies in the artifacts");

        Assert.Equal("a picture", File.ReadAllText(_run.At("photos") + "/one.jpg"));
        Assert.Equal("a note", File.ReadAllText(_run.At("note")));
    }

    [Theory]
    [InlineData("'k_proj' belongs to no option", "--targets", "q_proj", "k_proj")]
    [InlineData("'k_proj' belongs to no option", "--targets", "q_proj,", "k_proj")]
    [InlineData("--targets is given twice, as 'q_proj' and 'k_proj'", "--targets", "q_proj", "--targets", "k_proj")]
    [InlineData("--rank needs a value", "--force", "--rank")]
    [InlineData("--rank needs a value", "--rank", "--force")]
    [InlineData("--factors needs a value", "--factors", "--rank", "2")]
    [InlineData("--force takes no value", "--rank", "2", "--force=false")]
    [InlineData("'false' belongs to no option", "--rank", "2", "--force", "false")]
    [InlineData("--svd is empty", "--rank", "2", "--svd", "")]
    [InlineData("--svd is empty", "--rank", "2", "--svd=")]
    [InlineData("'-r' belongs to no option", "--rank", "2", "-r", "2")]
    [InlineData("--config is given twice", "--config", "a.json", "--config", "b.json")]
    public void WordsThatWouldGoUnseen_AreRefused(string message, params string[] words)
    {
        // All but the last two would replace the artifacts that other tests use, or be left out of what is done, without a word.
        var before = File.ReadAllBytes(Path.Combine(_run.Artifacts, "manifest.json"));
        Build("artifacts", words).ExpectRefusal().Names(message);
        Assert.Equal(before, File.ReadAllBytes(Path.Combine(_run.Artifacts, "manifest.json")));
    }

    [Theory]
    [InlineData("""{"force": "no"}""", "'force' must be true or false")]
    [InlineData("""{"force": 0}""", "'force' must be true or false")]
    [InlineData("""{"rank": true}""", "'rank' must be a number")]
    [InlineData("""{"rank": [2, 3]}""", "--rank '2,3'")]
    [InlineData("""{"rank": 2.5}""", "--rank '2.5'")]
    [InlineData("""{"rank": ""}""", "--rank is empty")]
    [InlineData("""{"targets": []}""", "--targets is empty")]
    public void Config_ValuesOfAnotherKind_AreRefused(string json, string message)
    {
        File.WriteAllText(_run.At("kind.json"), json);
        Build("artifacts", "--config", _run.At("kind.json")).ExpectRefusal().Names(message);
    }

    [Fact]
    public void Config_ListsAreTakenAsOnTheCommandLine()
    {
        File.WriteAllText(_run.At("list.json"), JsonSerializer.Serialize(new { rank = 2.0m, targets = new[] { "q_proj", "k_proj" }, factors = Array.Empty<string>(), force = false, alpha = (double?)null, json = true }));
        Assert.Equal(10, Build("listed", "--config", _run.At("list.json")).Expect(0).Json.GetProperty("targets").GetArrayLength());
    }

    [Fact]
    public void Paths_MayBeginWithADash_AndHoldSpaces()
    {
        var folder = Path.Combine(Path.GetRelativePath(Environment.CurrentDirectory, _run.At("")), "-d ü");
        Sorsa.Run("build-artifacts", "--model", Model, "--rank", "2", "--out", folder).Expect(0);
        File.Copy(Model, _run.At("-m.onnx"));
        Sorsa.Run("inspect", "--model", _run.At("-m.onnx")).Expect(0);
    }

    [Fact]
    public void OutputFile_NamedLikeAFolder_IsRefused()
    {
        foreach (var output in new[] { _run.At("folder") + "/", _run.At("artifacts") })
        {
            Sorsa.Run("merge", "--artifacts", _run.Artifacts, "--out", output, "--force").ExpectRefusal().Names("is a directory");
            Sorsa.Run("export-adapter", "--artifacts", _run.Artifacts, "--checkpoint", _run.Run, "--format", "safetensors", "--out", output, "--force").ExpectRefusal().Names("is a directory");
            Sorsa.Run("evaluate", "--artifacts", Hostile.SmallModels.TinyMathArtifacts, "--data", Paths.TinyMath("test.jsonl"), "--tokenizer", Paths.TinyMath("tokenizer.model"), "--metric", "gsm8k", "--limit", "1",
                "--out", output, "--force").ExpectRefusal().Names("is a directory");
        }
        Assert.False(Directory.Exists(_run.At("folder")));
    }

    [Fact]
    public void Demo_TakesAwayNothingThatIsNotItsOwn()
    {
        string[] mine = [_run.At("demo/mine.txt"), _run.At("demo/artifacts/mine.txt")];
        Directory.CreateDirectory(_run.At("demo/artifacts"));
        foreach (var file in mine.Append(_run.At("demo/artifacts/manifest.json")))
            File.WriteAllText(file, "a note");

        Sorsa.Run("demo", "--out", _run.At("demo"), "--force", "--threads", "1").Expect(2).Names("mine.txt");

        Assert.All(mine, file => Assert.Equal("a note", File.ReadAllText(file)));
    }

    [Fact]
    public void Checkpoint_ThatIsNone_IsRefusedAsSuch()
    {
        Sorsa.Run("inspect", "--model", Path.Combine(_run.Run, "checkpoints")).ExpectRefusal().Names("manifest.json", "run.json");
        foreach (var folder in new[] { _run.Artifacts, Path.Combine(_run.Run, "checkpoints") })
            Sorsa.Run("merge", "--artifacts", _run.Artifacts, "--checkpoint", folder, "--out", _run.At("none.onnx")).ExpectRefusal().Names("neither a run nor a whole checkpoint", "RUN/checkpoints/step-N");
        Directory.CreateDirectory(_run.At("begun/checkpoints"));
        Sorsa.Run("merge", "--artifacts", _run.Artifacts, "--checkpoint", _run.At("begun"), "--out", _run.At("none.onnx")).ExpectRefusal().Names("begun' holds no checkpoint yet", "--resume");
    }

    [Fact]
    public void Warmup_ThatLeavesNothingToTrain_IsSaid()
    {
        Assert.Contains("only step is the first of --warmup", Train("once", "--max-steps", "1").Expect(0).Error, StringComparison.Ordinal);
        Assert.Contains("never reaches --lr", Train("rising", "--max-steps", "2", "--warmup", "9").Expect(0).Error, StringComparison.Ordinal);
        Assert.DoesNotContain("--warmup", Train("flat", "--max-steps", "1", "--warmup", "0").Expect(0).Error, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("--eval-data", "--eval-every", "2")]
    [InlineData("--epochs", "--epochs", "1e300")]
    public void TrainOptions_ThatCannotBeFollowed_AreRefused(string named, params string[] options)
    {
        Train("unfollowed", options).ExpectRefusal().Names(named);
        Assert.False(Directory.Exists(_run.At("unfollowed")));
    }

    [Theory]
    [InlineData("0.5", new[] { 0, 0.25, 0.5, 0.75, 1, 0.75, 0.5, 0.25 })]
    [InlineData("2", new[] { 0, 1 / 2.0, 1, 5 / 6.0, 4 / 6.0, 3 / 6.0, 2 / 6.0, 1 / 6.0 })]
    [InlineData("0", new[] { 1, 7 / 8.0, 6 / 8.0, 5 / 8.0, 4 / 8.0, 3 / 8.0, 2 / 8.0, 1 / 8.0 })]
    public void Warmup_IsAShareOfAllStepsBelowOne_AndStepsFromThere(string warmup, double[] shares)
    {
        Train("warmup" + warmup, "--max-steps", "8", "--warmup", warmup, "--lr", "1e-3", "--schedule", "linear", "--keep", "2", "--save-every", "1").Expect(0);

        Assert.Equal(shares.Select(s => Math.Round(s * 1e-3, 12)), Metrics("warmup" + warmup).Select(l => Math.Round(l.GetProperty("lr").GetDouble(), 12)));
        Assert.Equal(["step-7", "step-8"], Directory.GetDirectories(Path.Combine(_run.At("warmup" + warmup), "checkpoints")).Select(Path.GetFileName).Order());
    }

    [Fact]
    public void Train_WritesReportAndPicture_AndSaysWhereItEnded()
    {
        var json = Train("whole", "--max-steps", "2", "--eval-data", _run.Data, "--json").Expect(0).Json;

        Assert.Equal((2, 2, "completed"), (json.GetProperty("step").GetInt32(), json.GetProperty("total_steps").GetInt32(), json.GetProperty("end").GetString()));
        foreach (var file in new[] { "report.html", "loss.png", "checkpoints/step-2/parameters.safetensors", "checkpoints/step-2/optimizer.safetensors", "checkpoints/step-2/state.json" })
            Assert.True(File.Exists(Path.Combine(_run.At("whole"), file)), file);
        Assert.Equal(["step", "eval_loss", "eval_perplexity"], Metrics("whole")[^1].EnumerateObject().Select(p => p.Name));

        File.Delete(Path.Combine(_run.At("whole"), "loss.png"));
        var report = Sorsa.Run("report", "--run", _run.At("whole"), "--json").Expect(0).Json;
        Assert.True(File.Exists(report.GetProperty("picture").GetString()));
        Sorsa.Run("report", "--run", _run.Artifacts).ExpectRefusal().Names("metrics.jsonl");
    }

    [Fact]
    public void LossAverage_OfBatches_IsTheMeanOfTheirMeans()
    {
        // One row has one label, the other four: the two means differ.
        File.WriteAllLines(_run.At("uneven.jsonl"), ["""{"input_ids": [1, 403, 407], "labels": [-100, -100, 407]}""", """{"input_ids": [1, 404, 407, 261, 378], "labels": [-100, 404, 407, 261, 378]}"""]);
        double Loss(string name, string average, params string[] further)
        {
            Sorsa.Run(["train", "--artifacts", _run.Artifacts, "--data", _run.At("uneven.jsonl"), "--out", _run.At(name), "--threads", "1", "--max-steps", "1", "--loss-average", average, .. further]).Expect(0);
            return Metrics(name)[0].GetProperty("loss").GetDouble();
        }
        File.WriteAllLines(_run.At("first.jsonl"), File.ReadLines(_run.At("uneven.jsonl")).Take(1));
        double Evaluated(string file, int rows) => Sorsa.Run("evaluate", "--artifacts", _run.Artifacts, "--data", _run.At(file), "--limit", $"{rows}", "--json").Expect(0).Json.GetProperty("loss").GetDouble();
        var (first, both) = (Evaluated("first.jsonl", 1), Evaluated("uneven.jsonl", 2));

        Assert.Equal(both, Loss("tokens", "tokens", "--batch-size", "1", "--accumulation", "2"), 1e-5);
        Assert.Equal((first + (5 * both - first) / 4) / 2, Loss("batches", "batches", "--batch-size", "1", "--accumulation", "2"), 1e-5);
    }

    [Fact]
    public void SkipBadRows_CountsThem_WithoutItTheLineIsNamed()
    {
        File.WriteAllLines(_run.At("mixed.jsonl"), [.. File.ReadLines(_run.Data), """{"foo": 1}""", "no json"]);
        CommandOutcome Of(params string[] further) =>
            Sorsa.Run(["train", "--artifacts", _run.Artifacts, "--data", _run.At("mixed.jsonl"), "--out", _run.At("mixed"), "--max-steps", "1", "--accumulation", "1", .. further]);

        Of().ExpectRefusal().Names("mixed.jsonl", "line 9", "foo");
        Assert.False(Directory.Exists(_run.At("mixed")));
        Of("--skip-bad-rows").Expect(0).Names("2 bad rows", "line 9");

        var evaluated = Sorsa.Run("evaluate", "--model", Model, "--data", _run.At("mixed.jsonl"), "--skip-bad-rows", "--json").Expect(0).Names("2 bad rows", "line 9");
        Assert.Equal(2, evaluated.Json.GetProperty("skipped").GetInt32());
    }

    [Fact]
    public void EarlyStop_EndsWithCodeZeroAndSaysSo()
    {
        var outcome = Train("early", "--max-steps", "20", "--eval-data", _run.Data, "--eval-every", "2", "--early-stop", "1", "--lr", "1e-30", "--gamma", "0", "--json").Expect(0);
        Assert.Equal((4, "earlystopped"), (outcome.Json.GetProperty("step").GetInt32(), outcome.Json.GetProperty("end").GetString()));
        Assert.Contains("step 4 of 20", outcome.Out, StringComparison.Ordinal);
        Assert.Contains("ended by --early-stop 1", outcome.Out, StringComparison.Ordinal);
    }

    [Fact]
    public void DamagedNewestCheckpoint_PassedOver_IsSaid()
    {
        Train("damaged", "--max-steps", "2", "--save-every", "1").Expect(0);
        File.AppendAllText(Path.Combine(_run.At("damaged"), "checkpoints", "step-2", "parameters.safetensors"), "x");

        Sorsa.Run("merge", "--artifacts", _run.Artifacts, "--checkpoint", _run.At("damaged"), "--out", _run.At("damaged.onnx")).Expect(0).Names("step-2", "parameters.safetensors");
        Sorsa.Run("evaluate", "--artifacts", _run.Artifacts, "--checkpoint", _run.At("damaged"), "--data", _run.Data).Expect(0).Names("step-2", "parameters.safetensors");
    }

    [Theory]
    [InlineData("genai-fp16-dml", "merged.onnx", "model.onnx.data")]
    [InlineData("dynamo-opset18-bf16-stripped", "merged.onnx")]
    public void Merge_NamesTheFilesItWrote_AndNoOthers(string family, params string[] files)
    {
        Sorsa.Run("build-artifacts", "--model", Paths.Fixture("exports", "nano-llama", family, "model.onnx"), "--out", _run.At(family), "--rank", "2").Expect(0);
        var outcome = Sorsa.Run("merge", "--artifacts", _run.At(family), "--out", _run.At(family + "-merged/merged.onnx"), "--verify", "--json").Expect(0);

        Assert.Equal(files.Select(f => _run.At(family + "-merged/" + f)), outcome.Json.GetProperty("files").EnumerateArray().Select(f => f.GetString()));
        Assert.Equal(files.Order(), Directory.GetFiles(_run.At(family + "-merged")).Select(Path.GetFileName).Order());
        Assert.DoesNotContain("sorsa-tmp", outcome.Error, StringComparison.Ordinal); // What the CPU says of bfloat16 is of the model by its final name.
    }

    [Fact]
    public void Divergence_IsAFailure_NotBadInput() =>
        Train("diverged", "--max-steps", "9", "--lr", "1e30", "--warmup", "0").ExpectError(1).Names("in step 2", "rows.jsonl", "--lr");

    [Fact]
    public void Resume_TakesNoOptionThatWouldChangeTheRun()
    {
        _run.Resume().Expect(0);
        Sorsa.Run("train", "--resume", _run.Run, "--threads", "1", "--json").Expect(0);
        Sorsa.Run("train", "--resume", _run.Run, "--lr", "1").ExpectRefusal().Names("--resume", "--lr");
        Sorsa.Run("train", "--resume", _run.Run, "--data", _run.Data).ExpectRefusal().Names("--resume", "--data");
        Sorsa.Run("train", "--resume", _run.Run, "--threads", "2").ExpectRefusal().Names("--threads 2", "begun with 1");
        Sorsa.Run("train", "--resume", _run.Run, "--device", "gpu").ExpectRefusal().Names("--device gpu");
        Sorsa.Run("train", "--resume", _run.At("none")).ExpectRefusal().Names("run.json");
    }

    [Fact]
    public void Inspect_TellsOfModelArtifactsAndRun()
    {
        var model = Sorsa.Run("inspect", "--model", Model, "--json").Expect(0).Json;
        Assert.Equal(36, model.GetProperty("linears").GetArrayLength());
        Assert.Contains("rank 2, 35 targets", Sorsa.Run("inspect", "--model", _run.Artifacts).Expect(0).Out, StringComparison.Ordinal);

        var run = Sorsa.Run("inspect", "--model", _run.Run, "--json").Expect(0);
        Assert.Contains("step 2 of 2, loss ", run.Out, StringComparison.Ordinal);
        Assert.Contains("checkpoints: step-1, step-2", run.Out, StringComparison.Ordinal);
        Assert.Contains("rows.jsonl", run.Out, StringComparison.Ordinal);
        Assert.Equal(1e-3, run.Json.GetProperty("settings").GetProperty("training").GetProperty("learning_rate").GetDouble());
    }

    [Fact]
    public void Inspect_ShowsRowsAsTokens()
    {
        var outcome = Sorsa.Run("inspect", "--data", _run.Data, "--limit", "1", "--json").Expect(0);

        Assert.Equal("line 1: 5 tokens, 3 learnt\n  1|403[407|261|378]", string.Join('\n', outcome.Out.Split('\n')[..2]));
        Assert.Equal("""{"rows":8,"skipped":0,"tokens":40,"learnt":24,"longest":5}""", outcome.Json.GetRawText());
        var text = Sorsa.Run("inspect", "--data", Paths.TinyMath("train.jsonl"), "--tokenizer", Paths.TinyMath("tokenizer.model"), "--limit", "1").Expect(0).Out.Split('\n')[1];
        Assert.Contains("|Response|:[", text.Replace(" ", "", StringComparison.Ordinal), StringComparison.Ordinal);
        Assert.EndsWith("|</s>]", text, StringComparison.Ordinal);
        Sorsa.Run("inspect", "--data", Paths.TinyMath("train.jsonl")).ExpectRefusal().Names("train.jsonl, line 1", "--tokenizer");
    }

    [Fact]
    public void Evaluate_TakesAModelOrArtifactsWithACheckpoint()
    {
        CommandOutcome Of(params string[] which) => Sorsa.Run(["evaluate", "--data", _run.Data, "--json", .. which]);
        double Loss(params string[] which) => Of(which).Expect(0).Json.GetProperty("loss").GetDouble();

        Assert.Equal(Loss("--model", Model), Loss("--artifacts", _run.Artifacts), 1e-5);
        Assert.NotEqual(Loss("--artifacts", _run.Artifacts), Loss("--artifacts", _run.Artifacts, "--checkpoint", _run.Run), 1e-3);
        Assert.Equal(Loss("--artifacts", _run.Artifacts, "--checkpoint", _run.Run), Loss("--artifacts", _run.Artifacts, "--checkpoint", _run.Checkpoint(2)));
        Of("--model", Model, "--artifacts", _run.Artifacts).ExpectRefusal().Names("--model", "--artifacts");
        Of("--model", Model, "--checkpoint", _run.Run).ExpectRefusal().Names("--checkpoint goes with --artifacts");
        Of("--model", Model, "--metric", "gsm8k").ExpectRefusal().Names("--tokenizer");
        Of("--model", Model, "--device", "gpu").ExpectRefusal().Names("--device");
        Of("--model", Model, "--out", _run.At("answers.jsonl")).ExpectRefusal().Names("--out");
    }

    [Fact]
    public void Evaluate_GoesOnAfterTheAnswersThatAreThere()
    {
        var answers = _run.At("answers.jsonl");
        CommandOutcome Of(int limit, params string[] further) => Sorsa.Run(["evaluate", "--model", Paths.TinyMath("model.onnx"), "--data", Paths.TinyMath("test.jsonl"), "--tokenizer",
            Paths.TinyMath("tokenizer.model"), "--metric", "gsm8k", "--max-tokens", "12", "--batch-size", "2", "--limit", $"{limit}", "--out", answers, "--json", .. further]);
        Of(6).Expect(0);
        var whole = File.ReadAllLines(answers);
        // As a killed evaluation leaves it: the last line torn.
        File.WriteAllText(answers, string.Join('\n', whole[..4]) + "\n" + whole[4][..20]);

        var second = Of(6).Expect(0);

        Assert.Contains("after 3 answers", second.Error, StringComparison.Ordinal);
        Assert.Equal(6, second.Json.GetProperty("rows").GetInt32());
        Assert.Equal(whole, File.ReadAllLines(answers));
        Of(6, "--template", "alpaca-cot").ExpectRefusal().Names("answers.jsonl");
        Assert.Equal(whole, File.ReadAllLines(answers));
    }

    [Fact]
    public void Generate_EndsAtAStopText_WhichIsNotPrinted()
    {
        string Of(params string[] further) => Sorsa.Run(["generate", "--model", Paths.TinyMath("model.onnx"), "--tokenizer", Paths.TinyMath("tokenizer.model"),
            "--prompt", "Nina has 45 apples.", "--max-tokens", "12", .. further]).Expect(0).Out.TrimEnd();
        var free = Of();

        var stop = free[3..5];
        Assert.Equal(free[..free.IndexOf(stop, StringComparison.Ordinal)].TrimEnd(), Of("--stop", stop));
        Assert.EndsWith("\"StopText\"", Sorsa.Run("generate", "--model", Paths.TinyMath("model.onnx"), "--tokenizer", Paths.TinyMath("tokenizer.model"), "--prompt", "Nina has 45 apples.",
            "--max-tokens", "12", "--stop", stop, "never", "--json").Expect(0).Json.GetProperty("reason").GetRawText(), StringComparison.Ordinal);
        Assert.Equal(Of("--temperature", "1", "--top-p", "0.9", "--seed", "5"), Of("--temperature", "1", "--top-p", "0.9", "--seed", "5"));
    }

    [Fact]
    public void Packing_TrainsAndResumesToTheSameBytes()
    {
        string[] options = ["--packing", "--max-length", "16", "--batch-size", "1", "--lr", "1e-3", "--warmup", "0", "--save-every", "1", "--keep", "0"];
        Train("packed", [.. options, "--max-steps", "4"]).Expect(0);
        // Three rows of five tokens fill a row of 16.
        Assert.Equal(15, Metrics("packed")[0].GetProperty("tokens").GetInt32());
        var whole = File.ReadAllBytes(Path.Combine(_run.At("packed"), "checkpoints", "step-4", "parameters.safetensors"));
        foreach (var step in new[] { 3, 4 })
            Directory.Delete(Path.Combine(_run.At("packed"), "checkpoints", $"step-{step}"), recursive: true);

        Sorsa.Run("train", "--resume", _run.At("packed")).Expect(0);

        Assert.Equal(whole, File.ReadAllBytes(Path.Combine(_run.At("packed"), "checkpoints", "step-4", "parameters.safetensors")));
        Assert.Equal([1, 2, 3, 4], Metrics("packed").Select(l => l.GetProperty("step").GetInt32()));
    }

    [Fact]
    public void Compare_RefusesBeforeItWritesAnything()
    {
        CommandOutcome Of(params string[] further) => Sorsa.Run(["compare", "--model", Model, "--eval-data", _run.Data, "--out", _run.At("compared"), "--lr", "1e-3", .. further]);
        File.WriteAllText(_run.At("wrong.json"), """{"max-stepz": 1}""");

        Of("--data", _run.Data, "--train-config", _run.At("wrong.json")).ExpectRefusal().Names("wrong.json", "max-stepz");
        Of("--data", _run.At("nothing.jsonl")).ExpectRefusal().Names("nothing.jsonl");
        Assert.False(Directory.Exists(_run.At("compared")));
    }

    [Fact]
    public void Analyze_WritesItsTableAndPictureOnce()
    {
        string[] arguments = ["analyze", "--base", Model, "--model", Model, "--out", _run.At("analysis"), "--targets", "q_proj", "--json"];
        var json = Sorsa.Run(arguments).Expect(0).Json;

        Assert.Equal(0, json.GetProperty("models")[0].GetProperty("mean_delta_sigma").GetDouble(), 1e-6);
        Assert.Equal(5, json.GetProperty("models")[0].GetProperty("targets").GetArrayLength());
        Assert.True(File.Exists(Path.Combine(_run.At("analysis"), "analysis.json")) && File.Exists(Path.Combine(_run.At("analysis"), "analysis.png")));
        Sorsa.Run(arguments).ExpectRefusal().Names("analysis.json' exists already");
    }

    [Theory]
    [InlineData("no verb given")]
    [InlineData("there is no verb 'nope'", "nope")]
    [InlineData("there is no option --bogus", "train", "--bogus", "1")]
    [InlineData("--model is needed", "build-artifacts", "--out", "x")]
    [InlineData("--rank 'many'", "build-artifacts", "--model", "m", "--out", "x", "--rank", "many")]
    [InlineData("--artifacts, --data and --out are needed", "train")]
    [InlineData("--seed -1: at least 0", "build-artifacts", "--model", "m", "--out", "x", "--seed", "-1")]
    [InlineData("--seed -1: at least 0", "train", "--artifacts", "a", "--data", "d", "--out", "x", "--seed", "-1")]
    [InlineData("--seed -1: at least 0", "generate", "--model", "m", "--tokenizer", "t", "--prompt", "p", "--seed", "-1")]
    [InlineData("none of keep, fp32, fp16, bf16", "merge", "--artifacts", "a", "--out", "x", "--dtype", "int7")]
    public void BadUsage_IsRefusedInWords(string message, params string[] arguments) => Sorsa.Run(arguments).ExpectRefusal().Names(message);

    [Fact]
    public void Help_ShowsOptionsAsTheyAreWritten() => Assert.Contains("--rank", Sorsa.Run("build-artifacts", "--help").Expect(0).Out, StringComparison.Ordinal);
}
