using SorsaOrt.TestSupport;
using Xunit;

namespace SorsaOrt.Cli.Tests.Hostile;

/// <summary>Rows, tokenizers and factor files of other people through the verbs that read them.</summary>
public sealed class TextTests
{
    public static TheoryData<string> Rows => Corpus.Ids("jsonl");

    public static TheoryData<string> Tokenizers => Corpus.Ids("tokenizer-model");

    public static TheoryData<string> Safetensors => Corpus.Ids("safetensors");

    [Theory]
    [MemberData(nameof(Rows))]
    public void Train_DoesWhatTheRowsDemand(string id) => Corpus.Check(Corpus.Get(id), 12, (rows, run) => Train(rows, Paths.TinyMath("tokenizer.model"), run));

    [Theory]
    [MemberData(nameof(Rows))]
    public void Evaluate_AcceptsOrRefusesInWords(string id)
    {
        var hostile = Corpus.Get(id);
        using var work = new TemporaryFolder();
        var outcome = Sorsa.Run("evaluate", "--artifacts", SmallModels.TinyMathArtifacts, "--tokenizer", Paths.TinyMath("tokenizer.model"),
            "--data", hostile.Materialize(work.Path), "--limit", "8", "--max-length", "64", "--threads", "1").ExpectNoTrace();
        Assert.True(hostile.Expect switch { "accept" => outcome.ExitCode == 0, "reject" => outcome.ExitCode == 2, _ => outcome.ExitCode is 0 or 2 }, outcome.Out + outcome.Error);
        Assert.True(outcome.ExitCode == 0 || hostile.IsNamedBy(outcome.Error), outcome.Error);
    }

    [Theory]
    [MemberData(nameof(Tokenizers))]
    public void Train_DoesWhatTheTokenizerDemands(string id) => Corpus.Check(Corpus.Get(id), 12, (tokenizer, run) => Train(Paths.TinyMath("train.jsonl"), tokenizer, run));

    // No case holds factors of this model, so what the corpus accepts as a file is refused for its tensors.
    [Theory]
    [MemberData(nameof(Safetensors))]
    public void BuildArtifacts_RefusesFactorsByName(string id)
    {
        var hostile = Corpus.Get(id);
        for (var variant = 0; variant < Math.Min(20, hostile.Variants); variant++)
        {
            using var work = new TemporaryFolder();
            using var elsewhere = new TemporaryFolder();
            var outcome = Sorsa.Run("build-artifacts", "--model", Paths.Fixture("nano-llama", "optimum-no-past.onnx"), "--rank", "2",
                "--out", elsewhere.At("out"), "--factors", hostile.Materialize(work.Path, variant)).ExpectNoTrace().Expect(2);
            Assert.Empty(elsewhere.Everything());
            Assert.True(hostile.IsNamedBy(outcome.Error) || hostile.Expect != "reject" && outcome.Error.Contains("--factors", StringComparison.Ordinal), outcome.Error);
        }
    }

    private static CommandOutcome Train(string rows, string tokenizer, string run) =>
        Sorsa.Run("train", "--artifacts", SmallModels.TinyMathArtifacts, "--data", rows, "--tokenizer", tokenizer, "--out", run,
            "--max-steps", "1", "--batch-size", "1", "--accumulation", "1", "--max-length", "64", "--threads", "1");
}
