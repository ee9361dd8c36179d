using System.Text.Json;
using SorsaOrt.Data;
using SorsaOrt.Engines;
using SorsaOrt.TestSupport;

namespace SorsaOrt.Inference.Tests;

public sealed class EvaluationTests
{
    private static readonly EngineOptions Cpu = new() { Threads = 1 };

    [Theory]
    [InlineData(1)]
    [InlineData(3)]
    [InlineData(16)]
    public void Loss_IsTheMeanOverAllLabels_HoweverBatched(int batchSize)
    {
        using var folder = new TemporaryFolder();
        var rows = TokenRows(seed: 5);
        File.WriteAllLines(folder.At("rows.jsonl"), rows.Select(Json));
        using var file = RowFile.Open(folder.At("rows.jsonl"));
        using var model = OnnxLanguageModel.Open(Paths.Fixture("nano-llama", "optimum-no-past.onnx"), Cpu);
        var seen = new List<LossReport>();
        var report = LossEvaluation.Run(model, null, Template.None, file, new EvaluationOptions { BatchSize = batchSize }, seen.Add, cancellation: TestContext.Current.CancellationToken);
        var (sum, count) = Reference(rows.Where(r => r.Ids.Length <= 512));
        Assert.Equal(count, report.LabelTokens);
        Assert.Equal(sum / count, report.Loss, 1e-5);
        Assert.Equal(1, report.Perplexity / Math.Exp(sum / count), 1e-5);
        Assert.Equal(rows.Count - 1, report.Rows);
        Assert.Equal(report, seen[^1]);
        Assert.Equal(1, report.Refused.Count);
        Assert.Equal("line 4: the row has 600 tokens, the model takes 512", report.Refused.First);
    }

    [Fact]
    public void Loss_OfLimitedRows_CountsThoseOnly()
    {
        using var folder = new TemporaryFolder();
        var rows = TokenRows(seed: 6);
        File.WriteAllLines(folder.At("rows.jsonl"), rows.Select(Json));
        using var file = RowFile.Open(folder.At("rows.jsonl"));
        using var model = OnnxLanguageModel.Open(Paths.Fixture("nano-llama", "optimum-no-past.onnx"), Cpu);
        var report = LossEvaluation.Run(model, null, Template.None, file, new EvaluationOptions { Limit = 2 }, cancellation: TestContext.Current.CancellationToken);
        var (sum, count) = Reference(rows.Take(2));
        Assert.Equal((2, count), (report.Rows, report.LabelTokens));
        Assert.Equal(sum, report.LossSum, 1e-3);
    }

    [Fact]
    public void ExactMatch_CountsRightAnswersAndReportsEachInOrder()
    {
        var tokenizer = Tokenizer.Load(Paths.TinyMath("tokenizer.model"));
        using var folder = new TemporaryFolder();
        File.WriteAllLines(folder.At("rows.jsonl"),
        [
            """{"query":"one","response":"It is so.\nThe answer is: 7"}""",
            """{"question":"two longer","answer":"so it is\n#### 1,250"}""",
            """{"query":"three","response":"The answer is: 3"}""",
            """{"query":"four","response":"no number here"}""",
            """{"text":"five"}""",
            """{"query":"six","response":"The answer is: 6"}""",
        ]);
        var answers = new Dictionary<string, string>
        {
            ["one"] = "Well.\nThe answer is: 7.0",
            ["two longer"] = "The answer is: $1250",
            ["three"] = "The answer is: 4",
            ["six"] = "I do not know",
        };
        using var file = RowFile.Open(folder.At("rows.jsonl"));
        using var model = Scripted(tokenizer, Template.Alpaca, answers);
        var told = new List<ScoredAnswer>();
        var progress = new List<ExactMatchReport>();
        var report = ExactMatch.Run(model, tokenizer, Template.Alpaca, file, ResultForm.Gsm8k, new EvaluationOptions { BatchSize = 3, MaxTokens = 40 }, null, told.Add, progress.Add, TestContext.Current.CancellationToken);
        Assert.Equal((4, 2, 2), (report.Rows, report.Correct, report.Refused.Count));
        Assert.Equal(0.5, report.Accuracy);
        Assert.StartsWith("line 4: ", report.Refused.First, StringComparison.Ordinal);
        Assert.Equal(report, progress[^1]);
        Assert.Equal([1, 2, 3, 6], told.Select(t => t.Row));
        Assert.Equal([.. answers.Values], told.Select(t => t.Answer));
        Assert.Equal(["7", "1250", "3", "6"], told.Select(t => t.Expected));
        Assert.Equal(["7", "1250", "4", null], told.Select(t => t.Predicted));
        Assert.Equal([true, true, false, false], told.Select(t => t.Correct));
        Assert.EndsWith("### Instruction:\ntwo longer\n\n### Response:", told[1].Prompt, StringComparison.Ordinal);
    }

    [Fact]
    public void ExactMatch_OfAPromptLongerThanTheModel_IsRefused()
    {
        var tokenizer = Tokenizer.Load(Paths.TinyMath("tokenizer.model"));
        using var folder = new TemporaryFolder();
        File.WriteAllLines(folder.At("rows.jsonl"), ["""{"query":"a question of many words","response":"The answer is: 3"}"""]);
        using var file = RowFile.Open(folder.At("rows.jsonl"));
        using var model = new ScriptedModel(tokenizer.VocabularySize, _ => 2, maxPositions: 4);
        var e = Assert.Throws<DataFormatException>(() =>
            ExactMatch.Run(model, tokenizer, Template.None, file, ResultForm.Gsm8k, new EvaluationOptions(), cancellation: TestContext.Current.CancellationToken));
        Assert.Contains("line 1: its prompt has", e.Message, StringComparison.Ordinal);
        Assert.Contains("the model takes 4", e.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void TinyMath_HasNotLearntItsProblemsYet()
    {
        var tokenizer = Tokenizer.Load(Paths.TinyMath("tokenizer.model"));
        using var file = RowFile.Open(Paths.TinyMath("test.jsonl"));
        using var model = OnnxLanguageModel.Open(Paths.TinyMath("model.onnx"), new EngineOptions());
        var report = ExactMatch.Run(model, tokenizer, Template.Alpaca, file, ResultForm.Gsm8k, new EvaluationOptions { Limit = 20, MaxTokens = 48 }, cancellation: TestContext.Current.CancellationToken);
        Assert.Equal((20, 0, 0), (report.Rows, report.Correct, report.Refused.Count));
    }

    /// <summary>Gives each question's answer, token by token, then the end.</summary>
    private static ScriptedModel Scripted(Tokenizer tokenizer, Template template, Dictionary<string, string> answers)
    {
        var scripts = answers.Select(a => (Prompt: template.EncodePrompt(tokenizer, a.Key), Answer: (int[])[.. tokenizer.Encode(a.Value), tokenizer.EosId])).ToList();
        return new ScriptedModel(tokenizer.VocabularySize, text =>
        {
            var (prompt, answer) = scripts.Single(s => text.AsSpan().StartsWith(s.Prompt));
            return answer[text.Length - prompt.Length];
        });
    }

    private sealed record Tokens(int[] Ids, int[] Labels);

    private static List<Tokens> TokenRows(int seed)
    {
        var random = new Random(seed);
        var rows = new List<Tokens>();
        foreach (int length in new[] { 5, 40, 17, 600, 2, 23, 11 })
        {
            int[] ids = [.. Enumerable.Range(0, length).Select(_ => random.Next(512))];
            rows.Add(new(ids, [.. ids.Select((id, t) => t == length - 1 || random.Next(2) == 0 ? id : -100)]));
        }
        return rows;
    }

    private static string Json(Tokens row) => JsonSerializer.Serialize(new { input_ids = row.Ids, labels = row.Labels });

    /// <summary>Each row run alone, its loss summed in double without any of this room's code.</summary>
    private static (double Sum, long Count) Reference(IEnumerable<Tokens> rows)
    {
        double sum = 0;
        long count = 0;
        foreach (var row in rows)
        {
            long length = row.Ids.Length;
            var feeds = new Dictionary<string, OrtTensor>
            {
                ["input_ids"] = OrtTensor.Of(Array.ConvertAll(row.Ids, i => (long)i), 1, length),
                ["attention_mask"] = OrtTensor.Of(Enumerable.Repeat(1L, (int)length).ToArray(), 1, length),
                ["position_ids"] = OrtTensor.Of(Enumerable.Range(0, (int)length).Select(i => (long)i).ToArray(), 1, length),
            };
            float[] logits = OrtRun.Run(Paths.Fixture("nano-llama", "optimum-no-past.onnx"), feeds)["logits"].As<float>();
            for (int t = 1; t < length; t++)
            {
                if (row.Labels[t] < 0)
                    continue;
                double[] z = Array.ConvertAll(logits[((t - 1) * 512)..(t * 512)], v => (double)v);
                sum += Math.Log(z.Sum(v => Math.Exp(v - z.Max()))) + z.Max() - z[row.Labels[t]];
                count++;
            }
        }
        return (sum, count);
    }
}
