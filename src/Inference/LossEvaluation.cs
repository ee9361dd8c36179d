using SorsaOrt.Data;

namespace SorsaOrt.Inference;

/// <summary>Loss over a file so far.</summary>
/// <param name="LossSum">Sum of the cross entropy over the labels, in nats.</param>
/// <param name="LabelTokens">Labels.</param>
/// <param name="Rows">Rows that count.</param>
/// <param name="Refused">Rows longer than the model allows.</param>
public sealed record LossReport(double LossSum, long LabelTokens, int Rows, Refusals Refused)
{
    /// <summary>Mean cross entropy over the labels, in nats.</summary>
    public double Loss => LossSum / LabelTokens;

    /// <summary>exp(loss).</summary>
    public double Perplexity => Math.Exp(Loss);
}

/// <summary>Mean loss over the labels of a file's rows: the sum over all labels divided by their number, however they are batched.</summary>
public static class LossEvaluation
{
    /// <summary>Evaluates a file.</summary>
    /// <param name="model">The model.</param>
    /// <param name="tokenizer">Its tokenizer; null when all rows are tokens already.</param>
    /// <param name="template">How rows become text.</param>
    /// <param name="file">The rows, cut to <see cref="EvaluationOptions.MaxLength"/>; longer ones than the model allows are refused.</param>
    /// <param name="options">How much, and in what portions.</param>
    /// <param name="progress">Told the result so far after every batch.</param>
    /// <param name="cancellation">Looked at before every batch.</param>
    /// <exception cref="DataFormatException">No row can be evaluated.</exception>
    public static LossReport Run(LanguageModel model, Tokenizer? tokenizer, Template template, RowFile file, EvaluationOptions options,
        Action<LossReport>? progress = null, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(model);
        ArgumentNullException.ThrowIfNull(file);
        ArgumentNullException.ThrowIfNull(options);
        options.Check();
        var encoder = new RowEncoder(tokenizer, template, options.MaxLength, model.VocabularySize);
        var batch = new PaddedBatch();
        var report = new LossReport(0, 0, 0, default);
        int end = Math.Min(file.Count, options.Limit ?? int.MaxValue);
        for (int start = 0; start < end; start += options.WindowRows)
        {
            var rows = Encode(model, encoder, file, start, Math.Min(end, start + options.WindowRows), ref report);
            foreach (int[] chosen in BatchPlan.Of(model, [.. rows.Select(r => r.InputIds.Length)], options.BatchSize, together: true))
            {
                cancellation.ThrowIfCancellationRequested();
                Fill(batch, rows, chosen);
                var step = model.Loss(batch.Batch);
                report = report with { LossSum = report.LossSum + step.LossSum, LabelTokens = report.LabelTokens + step.LabelTokens, Rows = report.Rows + chosen.Length };
                progress?.Invoke(report);
            }
        }
        if (report.Rows == 0)
            throw report.Refused.AllOf(file);
        return report;
    }

    private static List<EncodedRow> Encode(LanguageModel model, RowEncoder encoder, RowFile file, int start, int end, ref LossReport report)
    {
        var rows = new List<EncodedRow>(end - start);
        for (int i = start; i < end; i++)
        {
            var row = encoder.Encode(file, file.Read(i));
            if (row.InputIds.Length > model.MaxPositions)
                report = report with { Refused = report.Refused.And(file.LineOf(i), $"the row has {row.InputIds.Length} tokens, the model takes {model.MaxPositions}") };
            else
                rows.Add(row);
        }
        return rows;
    }

    private static void Fill(PaddedBatch batch, List<EncodedRow> rows, int[] chosen)
    {
        batch.Begin(chosen.Length, rows[chosen[0]].InputIds.Length);
        for (int b = 0; b < chosen.Length; b++)
        {
            var row = rows[chosen[b]];
            batch.SetRow(b, row.InputIds);
            for (int t = 1; t < row.Labels.Length; t++)
            {
                if (row.Labels[t] >= 0)
                    batch.AddLabel(b, t - 1, row.Labels[t]);
            }
        }
    }
}
