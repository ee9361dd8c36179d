using System.Globalization;
using SorsaOrt.Data;

namespace SorsaOrt.Inference;

/// <summary>A question, the model's answer, and whether it is right.</summary>
/// <param name="Row">Line of the row in its file, from 1.</param>
/// <param name="Prompt">What the model saw.</param>
/// <param name="Answer">What it said.</param>
/// <param name="Expected">The result that the row holds as right.</param>
/// <param name="Predicted">The result found in the answer; null where there is none.</param>
/// <param name="Correct">Whether they agree.</param>
/// <param name="Tokens">Tokens of the answer.</param>
public sealed record ScoredAnswer(int Row, string Prompt, string Answer, string Expected, string? Predicted, bool Correct, int Tokens);

/// <summary>Answers right so far.</summary>
/// <param name="Rows">Rows answered.</param>
/// <param name="Correct">Rows answered right.</param>
/// <param name="GeneratedTokens">Tokens of all answers.</param>
/// <param name="Refused">Rows without a result to compare with, or too long for the model.</param>
public sealed record ExactMatchReport(int Rows, int Correct, long GeneratedTokens, Refusals Refused)
{
    /// <summary>Share of right answers, 0 to 1.</summary>
    public double Accuracy => Rows == 0 ? 0 : (double)Correct / Rows;

    internal ExactMatchReport And(ScoredAnswer answer) => this with
    {
        Rows = Rows + 1,
        Correct = Correct + (answer.Correct ? 1 : 0),
        GeneratedTokens = GeneratedTokens + answer.Tokens,
    };
}

/// <summary>How results are found in texts.</summary>
/// <param name="Expected">The result a row's reference answer holds, in a form in which equal results are equal texts; null: none.</param>
/// <param name="Predicted">The result a model's answer holds, in the same form; null: none.</param>
public sealed record ResultForm(Func<string, string?> Expected, Func<string, string?> Predicted)
{
    /// <summary>GSM8K: the number after "####" or "The answer is:" (<see cref="Answers"/>).</summary>
    public static ResultForm Gsm8k { get; } = new(reference => Text(Answers.Expected(reference)), answer => Text(Answers.Predicted(answer)));

    /// <summary>MATH: what the last \boxed{} holds, normalised (<see cref="MathAnswers"/>).</summary>
    public static ResultForm Math { get; } = new(MathAnswers.Result, MathAnswers.Result);

    // G29 drops trailing zeros: 5.00 and 5 are one number.
    private static string? Text(decimal? number) => number?.ToString("G29", CultureInfo.InvariantCulture);
}

/// <summary>Greedy answers to a file's questions, compared with its own by result.</summary>
public static class ExactMatch
{
    /// <summary>Evaluates a file.</summary>
    /// <param name="model">The model.</param>
    /// <param name="tokenizer">Its tokenizer.</param>
    /// <param name="template">How a question becomes a prompt.</param>
    /// <param name="file">Rows of one question and one answer.</param>
    /// <param name="form">How results are found.</param>
    /// <param name="options">How much, in what portions, and how long an answer may be.</param>
    /// <param name="known">Answers found by an earlier start, by row: they are counted and not asked for again.</param>
    /// <param name="onAnswer">Told every new answer, in the order of the file.</param>
    /// <param name="progress">Told the result so far, every few batches.</param>
    /// <param name="cancellation">Looked at before every token.</param>
    /// <exception cref="DataFormatException">No row can be evaluated.</exception>
    public static ExactMatchReport Run(LanguageModel model, Tokenizer tokenizer, Template template, RowFile file, ResultForm form, EvaluationOptions options,
        IReadOnlyDictionary<int, ScoredAnswer>? known = null, Action<ScoredAnswer>? onAnswer = null, Action<ExactMatchReport>? progress = null, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(model);
        ArgumentNullException.ThrowIfNull(file);
        ArgumentNullException.ThrowIfNull(form);
        ArgumentNullException.ThrowIfNull(options);
        options.Check();
        model.Check(tokenizer);
        var decoding = TextGeneration.With(new DecodingOptions { BatchSize = options.BatchSize, MaxTokens = options.MaxTokens }, tokenizer);
        var report = new ExactMatchReport(0, 0, 0, default);
        int end = Math.Min(file.Count, options.Limit ?? int.MaxValue);
        for (int start = 0; start < end; start += options.WindowRows)
        {
            var questions = new List<Question>();
            for (int i = start; i < Math.Min(end, start + options.WindowRows); i++)
                Read(model, tokenizer, template, file.Read(i), form, questions, ref report);
            var open = questions.Where(q => known?.ContainsKey(q.Line) != true).ToList();
            foreach (var question in questions.Except(open))
                report = report.And(known![question.Line]);
            var completions = Decoding.Complete(model, [.. open.Select(q => q.Tokens)], decoding, cancellation: cancellation);
            foreach (var (question, completion) in open.Zip(completions))
            {
                var answer = Score(tokenizer, template, question, completion, form);
                report = report.And(answer);
                onAnswer?.Invoke(answer);
            }
            progress?.Invoke(report);
        }
        if (report.Rows == 0)
            throw report.Refused.AllOf(file);
        return report;
    }

    private static void Read(LanguageModel model, Tokenizer tokenizer, Template template, Row row, ResultForm form, List<Question> questions, ref ExactMatchReport report)
    {
        string? refusal = null, expected = null;
        var prompt = QuestionOf(row);
        int[] tokens = prompt is null ? [] : template.EncodePrompt(tokenizer, prompt.Instruction, prompt.Input);
        if (prompt is null)
            refusal = "the row is not one question with one answer";
        else if ((expected = form.Expected(prompt.Response)) is null)
            refusal = "its own answer holds no result to compare with";
        else if (tokens.Length >= model.MaxPositions)
            refusal = $"its prompt has {tokens.Length} tokens, the model takes {model.MaxPositions} with the answer";
        else
            questions.Add(new Question(row.Line, string.Concat(template.RenderPrompt(prompt.Instruction, prompt.Input).Select(s => s.Text)), tokens, expected));
        if (refusal is not null)
            report = report with { Refused = report.Refused.And(row.Line, refusal) };
    }

    /// <summary>Question and answer of a row; null where it is not one question with one answer.</summary>
    private static PromptRow? QuestionOf(Row row) => row switch
    {
        PromptRow prompt => prompt,
        ChatRow { Messages: [{ Role: "user" } user, { Role: "assistant" } assistant] } => new PromptRow(row.Line, user.Content, "", assistant.Content),
        _ => null,
    };

    private static ScoredAnswer Score(Tokenizer tokenizer, Template template, Question question, Completion completion, ResultForm form)
    {
        var stream = new TokenStream(tokenizer, keepLeadingSpace: template.AnswerContinues);
        string answer = string.Concat(completion.Tokens.Select(stream.Append)) + stream.Flush();
        string? predicted = form.Predicted(answer);
        return new ScoredAnswer(question.Line, question.Prompt, answer, question.Expected, predicted, predicted is not null && predicted == question.Expected, completion.Tokens.Count);
    }

    private sealed record Question(int Line, string Prompt, int[] Tokens, string Expected);
}
