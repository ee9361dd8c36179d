using SorsaOrt.Artifacts;
using SorsaOrt.Data;
using SorsaOrt.Engines;
using SorsaOrt.GraphBuilder;
using SorsaOrt.TestSupport;

namespace SorsaOrt.Inference.Tests;

public sealed class DecodingTests
{
    private const int End = 2;
    private static readonly EngineOptions Cpu = new() { Threads = 1 };

    [Fact]
    public void Batched_GivesTheTokensOfOneByOne()
    {
        using var model = OnnxLanguageModel.Open(Paths.TinyMath("model.onnx"), Cpu);
        var prompts = Prompts(20);
        var options = new DecodingOptions { MaxTokens = 30, StopIds = [End], BatchSize = 8 };
        var together = Complete(model, prompts, options);
        var alone = prompts.Select(p => Complete(model, [p], options)[0]).ToList();
        Assert.Equal(alone.Select(c => c.Tokens), together.Select(c => c.Tokens));
        Assert.Equal(alone.Select(c => c.Reason), together.Select(c => c.Reason));
        Assert.True(prompts.Select(p => p.Length).Distinct().Count() > 3);
    }

    [Fact]
    public void WithCache_GivesTheTokensOfRecomputing()
    {
        Assert.SkipWhen(Paths.SharedOrNull is null, "The folder shared is absent.");
        using var cached = OnnxLanguageModel.Open(Paths.TinyMath("model.onnx"), Cpu);
        using var recomputed = OnnxLanguageModel.Open(Paths.Shared("exports", "tiny-math", "optimum-no-past", "model.onnx"), Cpu);
        Assert.True(cached.HasCache && !recomputed.HasCache);
        AssertSameTokens(cached, recomputed, Prompts(8));
    }

    [Fact]
    public void FusedAttentionWithCache_GivesTheTokensOfPlainOperators()
    {
        Assert.SkipWhen(Paths.SharedOrNull is null, "The folder shared is absent.");
        using var fused = OnnxLanguageModel.Open(Paths.Shared("exports", "nano-llama-hd16", "genai-fp32-cpu", "model.onnx"), Cpu);
        using var plain = OnnxLanguageModel.Open(Paths.Fixture("nano-llama", "optimum-no-past.onnx"), Cpu);
        int[] text = new GoldenInputs(Paths.Fixture("nano-llama", "inputs.json")).Row(0);
        AssertSameTokens(fused, plain, [text, text[..5], text[..9], [.. text.Reverse()], text[2..7]]);
    }

    [Fact]
    public void Artifacts_AsBuilt_GiveTheTokensOfTheirModel()
    {
        using var folder = new TemporaryFolder();
        ArtifactBuilder.Build(new BuildOptions { ModelPath = Paths.TinyMath("model.onnx"), OutputFolder = folder.At("artifacts"), Rank = 8 });
        using var model = OnnxLanguageModel.Open(Paths.TinyMath("model.onnx"), Cpu);
        using var adapted = ArtifactLanguageModel.Open(ArtifactSet.Open(folder.At("artifacts"), Verification.Full), null, Cpu);
        AssertSameTokens(model, adapted, Prompts(4));
        Assert.Equal(model.VocabularySize, adapted.VocabularySize);
    }

    [Fact]
    public void Complete_StopsEachTextByItself()
    {
        // Counts down from its last token and ends at 10.
        using var model = new ScriptedModel(100, text => text[^1] == 10 ? End : text[^1] - 1, maxPositions: 20);
        int[][] prompts = [[13], [12, 12], [50], [40, 40, 40, 40, 40, 40, 40, 40, 40, 40, 40, 40, 40, 40, 40, 40, 40], [10]];
        var told = new List<(int, int)>();
        var done = Complete(model, prompts, new DecodingOptions { MaxTokens = 5, StopIds = [End] }, (row, token) => told.Add((row, token)));
        Assert.Equal([12, 11, 10], done[0].Tokens);
        Assert.Equal([11, 10], done[1].Tokens);
        Assert.Equal([49, 48, 47, 46, 45], done[2].Tokens);
        Assert.Equal([39, 38, 37], done[3].Tokens);
        Assert.Empty(done[4].Tokens);
        Assert.Equal([StopReason.EndToken, StopReason.EndToken, StopReason.MaxTokens, StopReason.MaxPositions, StopReason.EndToken], done.Select(d => d.Reason));
        for (int row = 0; row < prompts.Length; row++)
            Assert.Equal(done[row].Tokens, told.Where(t => t.Item1 == row).Select(t => t.Item2));
        Assert.Equal([5, 4, 4, 2, 1], model.RunRows);   // ended texts leave the batch
    }

    [Fact]
    public void Complete_NeverChoosesATokenTheTokenizerLacks()
    {
        using var model = new ScriptedModel(8, _ => [0, 1, 0, 0, 3, 0, 9, 5]);
        Assert.Equal([4, 4], Complete(model, [[1]], new DecodingOptions { MaxTokens = 2, TokenCount = 6 })[0].Tokens);
    }

    [Fact]
    public void Complete_OfLogitsThatAreNotFinite_Fails()
    {
        using var model = new ScriptedModel(4, _ => [0, 1, float.NaN, 0]);
        Assert.Contains("NaN", Assert.Throws<EngineException>(() => Complete(model, [[1]], new DecodingOptions())).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Complete_StopsWhenCancelled()
    {
        using var source = new CancellationTokenSource();
        using var model = new ScriptedModel(4, _ => 3);
        Assert.Throws<OperationCanceledException>(() => Decoding.Complete(model, [[1]], new DecodingOptions(), (_, _) => { source.Cancel(); return true; }, source.Token));
    }

    [Fact]
    public void Options_OutsideTheirRanges_AreRefused()
    {
        using var model = new ScriptedModel(4, _ => 3);
        foreach (var bad in new DecodingOptions[] { new() { TopP = 0 }, new() { TopP = 1.1f }, new() { Temperature = -1 }, new() { Temperature = float.NaN }, new() { MaxTokens = 0 }, new() { BatchSize = 0 } })
            Assert.Throws<ArgumentOutOfRangeException>(() => Complete(model, [[1]], bad));
    }

    [Fact]
    public void Stream_GivesTheTextInPieces()
    {
        using var model = OnnxLanguageModel.Open(Paths.TinyMath("model.onnx"), Cpu);
        var tokenizer = Tokenizer.Load(Paths.TinyMath("tokenizer.model"));
        var pieces = new List<string>();
        var completion = TextGeneration.Stream(model, tokenizer, Template.Alpaca, "What is 12 + 30?", new DecodingOptions { MaxTokens = 20 }, pieces.Add, TestContext.Current.CancellationToken);
        Assert.Equal(tokenizer.Decode(completion.Tokens), string.Concat(pieces));
        Assert.True(pieces.Count > 1);
        Assert.DoesNotContain("", pieces);
    }

    [Theory]
    [InlineData("###", "12 + 30", "12 ", "+ 30###x")]
    [InlineData("###", "a", "a#", "###")]
    [InlineData("###", "ab", "a", "b")]
    [InlineData("ba", "aab", "a", "ab")]
    [InlineData("yz", "x", "xy", "z!")]
    public void StopStrings_EndTheTextBeforeTheFirst_WhereverThePiecesAreCut(string stop, string expected, params string[] pieces)
    {
        var strings = new StopStrings([stop, "never"]);
        Assert.Equal(expected, string.Concat(pieces.Select(strings.Append)) + strings.Flush());
    }

    private static IReadOnlyList<Completion> Complete(LanguageModel model, int[][] prompts, DecodingOptions options, Action<int, int>? onToken = null) =>
        Decoding.Complete(model, prompts, options, (prompt, token) => { onToken?.Invoke(prompt, token); return true; }, TestContext.Current.CancellationToken);

    private static void AssertSameTokens(LanguageModel a, LanguageModel b, int[][] prompts)
    {
        var options = new DecodingOptions { MaxTokens = 24, StopIds = [End], BatchSize = 8 };
        Assert.Equal(Complete(a, prompts, options).Select(c => c.Tokens), Complete(b, prompts, options).Select(c => c.Tokens));
    }

    private static int[][] Prompts(int count)
    {
        var tokenizer = Tokenizer.Load(Paths.TinyMath("tokenizer.model"));
        using var file = RowFile.Open(Paths.TinyMath("test.jsonl"));
        return [.. Enumerable.Range(0, count).Select(i => Template.Alpaca.EncodePrompt(tokenizer, ((PromptRow)file.Read(i)).Instruction))];
    }
}
