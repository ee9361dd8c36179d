using System.Globalization;
using SorsaOrt.Artifacts;
using SorsaOrt.Data;
using SorsaOrt.Engines;

namespace SorsaOrt.Trainer;

/// <summary>The rows of a run, checked and ready to be cut into micro-batches.</summary>
internal sealed class TrainingData : IDisposable
{
    private readonly RowFile _rows;
    private readonly RowFile? _evalRows;

    private const int SortedEvaluationBatches = 64;   // a sum over all rows does not depend on their order

    private readonly string? _tokenizerFile;
    private readonly string? _packingNote;

    private TrainingData(RowFile rows, RowFile? evalRows, Tokenizer? tokenizer, RowEncoder encoder, TrainingOptions options)
    {
        (_rows, _evalRows, _tokenizerFile) = (rows, evalRows, tokenizer?.FilePath);
        var packed = options.Packing ? Pack(rows, encoder, out _packingNote) : null;
        var isSorted = options.SortByLength && options.Shuffle && options.LossAverage == LossAverage.Tokens;
        Batches = new Batcher(rows, encoder, new BatchOptions
        {
            BatchSize = options.BatchSize,
            Accumulation = options.Accumulation,
            Shuffle = options.Shuffle,
            Seed = unchecked((ulong)options.Seed),
            Packed = packed,
            SortedRows = isSorted ? checked(options.BatchSize * options.Accumulation) : 0,
        });
        if (evalRows is not null)
        {
            Evaluation = new Batcher(evalRows, encoder, new BatchOptions
            {
                BatchSize = options.BatchSize,
                Accumulation = 1,
                Shuffle = false,
                SortedRows = checked(options.BatchSize * SortedEvaluationBatches),
            });
        }
    }

    /// <summary>Micro-batches to train on.</summary>
    public Batcher Batches { get; }

    /// <summary>Micro-batches to evaluate on, in file order.</summary>
    public Batcher? Evaluation { get; }

    /// <summary>What was skipped and packed, in words.</summary>
    public IEnumerable<string> Notes()
    {
        foreach (var r in new[] { _rows, _evalRows })
        {
            if (r?.SkippedNote is { } skipped)
                yield return skipped;
        }
        if (_packingNote is not null)
            yield return _packingNote;
    }

    /// <summary>Opens and checks every row.</summary>
    public static TrainingData Open(RunSettings settings, Manifest manifest, Func<string, string> resolve)
    {
        var options = settings.Training;
        if (manifest.MaxPositions is { } most && options.MaxLength > most)
            throw new ConfigException($"--max-length is {options.MaxLength}, but the model takes at most {most} positions.");
        if (options.Packing && !manifest.TakesSegments)
            throw new ConfigException("--packing cannot be used with these artifacts: not in every layer of the model an attention was found whose mask could keep samples of a row apart. Train without --packing.");
        var tokenizer = settings.Tokenizer is { } path ? Tokenizer.Load(resolve(path)) : null;
        var encoder = new RowEncoder(tokenizer, Template.Load(ResolveTemplate(settings, resolve)), options.MaxLength, manifest.VocabularySize);
        var rows = RowFile.Open(resolve(settings.Data), encoder.Check, settings.SkipBadRows);
        try
        {
            var evalRows = settings.EvalData is { } eval ? RowFile.Open(resolve(eval), encoder.Check, settings.SkipBadRows) : null;
            return new TrainingData(rows, evalRows, tokenizer, encoder, options);
        }
        catch
        {
            rows.Dispose();
            throw;
        }
    }

    /// <summary>The identities of the files that <see cref="Open"/> read.</summary>
    public IReadOnlyList<RunInput> Inputs(RunSettings settings, Func<string, string> resolve)
    {
        var inputs = new List<RunInput> { Of("--data", settings.Data, _rows) };
        if (_evalRows is not null)
            inputs.Add(Of("--eval-data", settings.EvalData!, _evalRows));
        if (_tokenizerFile is not null)
            AddFile("--tokenizer", settings.Tokenizer!, _tokenizerFile);
        if (ResolveTemplate(settings, resolve) is var template && File.Exists(template))
            AddFile("--template", settings.Template, template);
        return inputs;

        RunInput Of(string role, string path, RowFile file) => new(role, path, new FileInfo(file.FilePath).Length, file.Fingerprint);
        void AddFile(string role, string path, string file)
        {
            var digest = FileDigest.Of(file);
            inputs.Add(new RunInput(role, path, digest.Size, digest.Sha256));
        }
    }

    /// <summary>The batch as the engine takes it.</summary>
    public static TokenBatch Tokens(Batch batch) => new()
    {
        BatchSize = batch.BatchSize,
        SequenceLength = batch.SequenceLength,
        InputIds = batch.InputIds.Span,
        AttentionMask = batch.AttentionMask.Span,
        PositionIds = batch.PositionIds.Span,
        LabelPositions = batch.LabelPositions.Span,
        LabelIds = batch.LabelIds.Span,
    };

    private static int[][] Pack(RowFile rows, RowEncoder encoder, out string note)
    {
        int[] lengths = [.. Enumerable.Range(0, rows.Count).Select(i => encoder.Encode(rows, rows.Read(i)).InputIds.Length)];
        var packed = Packing.Of(lengths, encoder.MaxLength);
        var share = (double)lengths.Sum(n => (long)n) / ((long)packed.Length * encoder.MaxLength);
        note = string.Create(CultureInfo.InvariantCulture, $"{rows.Count} samples are packed into {packed.Length} rows of {encoder.MaxLength} tokens, {100 * share:0.0} % full");
        return packed;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _rows.Dispose();
        _evalRows?.Dispose();
    }

    private static string ResolveTemplate(RunSettings settings, Func<string, string> resolve) =>
        settings.Template is "alpaca" or "alpaca-cot" or "chatml" or "none" ? settings.Template : resolve(settings.Template);
}
