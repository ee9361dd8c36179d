namespace SorsaOrt.Data;

/// <summary>A row as tokens. Labels are not shifted; −100 = not counted. Both have the same length, at least 2.</summary>
public readonly record struct EncodedRow(int[] InputIds, int[] Labels);

/// <summary>Rows to tokens and labels: BOS, prompt, answer, EOS; loss on the answer and its end, or on all of a {text}.</summary>
/// <remarks>
/// Longer rows are cut to the maximum length: a prompt with its answer at the left, after BOS, so that the answer's end stays;
/// a {text} at its end. Each stretch of the template is encoded by itself, as in the reference, so the prompt's tokens are those seen when generating.
/// </remarks>
public sealed class RowEncoder
{
    private readonly Template _template;
    private readonly Tokenizer? _tokenizer;
    private readonly List<int> _ids = [];
    private readonly List<int> _labels = [];

    /// <summary>An encoder for one model.</summary>
    /// <param name="tokenizer">The model's tokenizer; null when all rows are tokens already.</param>
    /// <param name="template">How text rows become prompts.</param>
    /// <param name="maxLength">Most tokens of a row, at least 2.</param>
    /// <param name="vocabularySize">Rows of the model's embedding: every id must be below.</param>
    public RowEncoder(Tokenizer? tokenizer, Template template, int maxLength, int vocabularySize)
    {
        ArgumentNullException.ThrowIfNull(template);
        ArgumentOutOfRangeException.ThrowIfLessThan(maxLength, 2);
        ArgumentOutOfRangeException.ThrowIfLessThan(vocabularySize, 1);
        if (tokenizer is not null && tokenizer.VocabularySize > vocabularySize)
            throw new DataFormatException($"The tokenizer has {tokenizer.VocabularySize} tokens but the model only {vocabularySize} embeddings: ids beyond them could not be read. Use the tokenizer that came with the model.");
        _tokenizer = tokenizer;
        _template = template;
        MaxLength = maxLength;
        VocabularySize = vocabularySize;
    }

    /// <summary>Most tokens of a row.</summary>
    public int MaxLength { get; }

    /// <summary>Ids are below this.</summary>
    public int VocabularySize { get; }

    /// <summary>Id that padding is made of: 0 without a tokenizer.</summary>
    public int PaddingId => _tokenizer?.PaddingId ?? 0;

    /// <summary>Whether a row can be encoded and has something to learn, without encoding it: for <see cref="RowFile.Open"/>.</summary>
    public void Check(RowFile file, Row row)
    {
        ArgumentNullException.ThrowIfNull(file);
        if (row is TokenRow tokens)
        {
            CheckTokens(file, tokens);
            return;
        }
        if (_tokenizer is null)
            throw new DataFormatException($"{DataFormatException.Printable(file.FilePath)}, line {row?.Line}: the row is text, and no tokenizer is given. Pass --tokenizer FILE, or rows of {{input_ids, labels}}.");
        if (row is ChatRow)
            Render(file, row);
    }

    /// <summary>The tokens and labels of a row.</summary>
    public EncodedRow Encode(RowFile file, Row row)
    {
        ArgumentNullException.ThrowIfNull(file);
        ArgumentNullException.ThrowIfNull(row);
        if (row is TokenRow tokens)
        {
            CheckTokens(file, tokens);
            return Cut(tokens.InputIds, tokens.Labels, keepFirst: tokens.InputIds[0] == _tokenizer?.BosId);
        }
        Check(file, row);
        _ids.Clear();
        _labels.Clear();
        bool hasBos = _tokenizer!.BosId >= 0 && (row is TextRow || _template.BeginsWithBos);
        if (hasBos)
            Add(_tokenizer.BosId, learn: row is TextRow);
        foreach (var segment in Render(file, row))
        {
            int from = _ids.Count;
            _tokenizer.Encode(segment.Text, segment.Continues, _ids, segment.Data);
            for (int i = from; i < _ids.Count; i++)
                _labels.Add(segment.Learn ? _ids[i] : RowParser.NoLabel);
        }
        if (_ids.Count == 0 || _ids[^1] != _tokenizer.EosId)
            Add(_tokenizer.EosId, learn: true);
        int[] ids = [.. _ids], labels = [.. _labels];
        return row is TextRow && ids.Length > MaxLength ? new(ids[..MaxLength], labels[..MaxLength]) : Cut(ids, labels, keepFirst: hasBos || ids[0] == _tokenizer.BosId);
    }

    private void Add(int id, bool learn)
    {
        _ids.Add(id);
        _labels.Add(learn ? id : RowParser.NoLabel);
    }

    private EncodedRow Cut(int[] ids, int[] labels, bool keepFirst)
    {
        if (ids.Length <= MaxLength)
            return new(ids, labels);
        return keepFirst
            ? new([ids[0], .. ids.AsSpan(ids.Length - MaxLength + 1)], [labels[0], .. labels.AsSpan(labels.Length - MaxLength + 1)])
            : new(ids[^MaxLength..], labels[^MaxLength..]);
    }

    private IReadOnlyList<Segment> Render(RowFile file, Row row)
    {
        try
        {
            return _template.Render(row);
        }
        catch (NotSupportedException e)
        {
            throw file.Refuse(row.Line, e.Message);
        }
    }

    private void CheckTokens(RowFile file, TokenRow row)
    {
        int kept = Math.Min(row.InputIds.Length, MaxLength);
        int first = row.InputIds.Length - kept + 1;   // a label at the first position kept has nothing before it to be predicted from
        bool learns = kept > 1 && row.Labels.AsSpan(first).IndexOfAnyExcept(RowParser.NoLabel) >= 0;
        if (!learns)
            throw file.Refuse(row.Line, row.InputIds.Length > MaxLength
                ? $"none of its last {MaxLength} tokens has a label: there is nothing to learn"
                : "no token after the first has a label: there is nothing to learn");
        int high = Array.FindIndex(row.InputIds, id => id >= VocabularySize);
        if (high >= 0)
            throw file.Refuse(row.Line, $"'input_ids' holds {row.InputIds[high]} at position {high}, but the model has {VocabularySize} tokens");
        high = Array.FindIndex(row.Labels, id => id >= VocabularySize);
        if (high >= 0)
            throw file.Refuse(row.Line, $"'labels' holds {row.Labels[high]} at position {high}, but the model has {VocabularySize} tokens");
    }
}
