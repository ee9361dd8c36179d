using System.Text.Json;
using System.Text.RegularExpressions;

namespace SorsaOrt.Data.TokenizerJson;

/// <summary>A tokenizer.json of Hugging Face with a byte-pair model: SmolLM2, Llama 3, Qwen and their like, and converted SentencePiece models.</summary>
/// <remarks>
/// Text goes through added tokens, normalizer, pre-tokenizer and merges, as in huggingface/tokenizers. The post-processor is read for one thing:
/// the token it puts before a text.
/// </remarks>
internal sealed class JsonTokenizer : Tokenizer
{
    /// <summary>Tokens that end an answer, by the name they have in the models that use them; first those that end a turn.</summary>
    private static readonly string[] EndNames = ["<|im_end|>", "<|eot_id|>", "<end_of_turn>", "<|end|>", "</s>", "<|end_of_text|>", "<|endoftext|>", "<eos>"];

    private readonly BytePairModel _model;
    private readonly Normalizer? _normalizer;
    private readonly PreTokenizer? _preTokenizer;
    private readonly Decoder _decoder;
    private readonly AddedTokens _added;
    private readonly AddedTokens _addedToNormalized;
    private readonly Dictionary<int, string> _spellings;
    private readonly Dictionary<int, AddedToken> _addedById;

    private JsonTokenizer(string path, JsonElement file, TokenizerSettings settings) : base(path, settings)
    {
        _model = new BytePairModel(file.Need("model", JsonValueKind.Object, "an object"));
        _normalizer = Normalizers.Parse(file.OrNull("normalizer"));
        _preTokenizer = PreTokenizers.Parse(file.OrNull("pre_tokenizer"));
        _decoder = Decoder.Parse(file.OrNull("decoder"));
        _spellings = _model.Ids.ToDictionary(t => t.Value, t => t.Key);
        var added = ReadAdded(file);
        _addedById = added.GroupBy(t => t.Id).ToDictionary(g => g.Key, g => g.Last());
        _added = new AddedTokens(added.Where(t => t.IsSpecial || !t.IsNormalized));
        _addedToNormalized = new AddedTokens(added.Where(t => !t.IsSpecial && t.IsNormalized));
        VocabularySize = Math.Max(_spellings.Keys.Max(), added.Select(t => t.Id).DefaultIfEmpty(0).Max()) + 1;
        BosId = IdBefore(file) ?? (settings.AddsBos ? IdOf(settings.Bos) : null) ?? -1;
        var ends = EndNames.Select(IdOf).OfType<int>().ToList();
        EosId = EndOf(settings) ?? (ends.Count > 0 ? ends[0]
            : throw new FormatException($"no token ends a text: neither a config.json beside it says which, nor does it have one of {string.Join(", ", EndNames)}"));
        EndIds = [.. ends.Append(EosId).Concat(settings.EndIds.Where(id => id < VocabularySize)).Distinct()];
        PaddingId = settings.PaddingId is { } padding && padding < VocabularySize ? padding : IdOf(settings.Padding) ?? EosId;
    }

    /// <inheritdoc/>
    public override int BosId { get; }

    /// <inheritdoc/>
    public override int EosId { get; }

    /// <inheritdoc/>
    public override int PaddingId { get; }

    /// <inheritdoc/>
    public override IReadOnlyList<int> EndIds { get; }

    /// <inheritdoc/>
    public override int VocabularySize { get; }

    internal override bool StripsLeadingSpace => _decoder.StripsLeadingSpace;

    internal override bool ReplacesEveryByte => false;

    /// <summary>Reads the content of a file.</summary>
    /// <exception cref="DataFormatException">It cannot be used.</exception>
    public static JsonTokenizer Parse(string path, byte[] bytes, TokenizerSettings settings)
    {
        try
        {
            using var json = JsonDocument.Parse(bytes.AsSpan().StartsWith("\uFEFF"u8) ? bytes.AsMemory(3) : bytes, new JsonDocumentOptions { MaxDepth = 64 });
            return json.RootElement.ValueKind == JsonValueKind.Object ? new JsonTokenizer(path, json.RootElement, settings)
                : throw new FormatException("it is no JSON object");
        }
        catch (JsonException e)
        {
            throw Bad(path, $"it is cut short or not JSON ({DataFormatException.Printable(e.Message)})", e);
        }
        catch (FormatException e)
        {
            throw Bad(path, e.Message, e);
        }
        catch (InvalidOperationException e)   // a lone surrogate in a string
        {
            throw Bad(path, "one of its texts holds half a surrogate pair, which is no character", e);
        }
    }

    /// <inheritdoc/>
    public override void Encode(string text, bool continues, List<int> ids, IReadOnlyList<TextSpan>? data = null)
    {
        ArgumentNullException.ThrowIfNull(text);
        ArgumentNullException.ThrowIfNull(ids);
        try
        {
            bool first = true;
            foreach (var part in _added.Split(text, data ?? []))
            {
                if (part.Token is { } token)
                    ids.Add(token.Id);
                else
                    EncodePlain(part.Text, continues && first, first, ids);
                first = false;
            }
        }
        catch (RegexMatchTimeoutException e)
        {
            throw Bad(FilePath, $"its pattern '{DataFormatException.Printable(e.Pattern)}' takes more than {CodePointRegex.MatchMilliseconds / 1000} s on a text of {text.Length} characters", e);
        }
    }

    /// <inheritdoc/>
    internal override TokenPiece Piece(int id)
    {
        if (_addedById.TryGetValue(id, out var added))
            return new(_decoder.BytesOf(added.Content), IsByte: false, added.IsSpecial);
        if (!_spellings.TryGetValue(id, out string? spelling))   // ids may have gaps, which no text gives
            return id >= 0 && id < VocabularySize ? default : throw OutOfRange(id);
        return _model.IsByteFallback(id) ? new(new[] { _model.ByteOf(id) }, IsByte: true, IsSpecial: false) : new(_decoder.BytesOf(spelling), IsByte: false, IsSpecial: false);
    }

    private static DataFormatException Bad(string path, string reason, Exception? inner = null) =>
        new(path, "this tokenizer cannot be used: " + reason, "Use the tokenizer.json that came with the model.", inner);

    private void EncodePlain(string text, bool continues, bool first, List<int> ids)
    {
        string normalized = _normalizer is null ? text : _normalizer(text, continues);
        foreach (var part in _addedToNormalized.Split(normalized, []))
        {
            if (part.Token is { } token)
            {
                ids.Add(token.Id);
            }
            else if (_preTokenizer is null)
            {
                _model.Encode(part.Text, ids);
            }
            else
            {
                foreach (var word in _preTokenizer(new Piece(part.Text, continues, first)))
                    _model.Encode(word.Text, ids);
            }
            (continues, first) = (false, false);
        }
    }

    private List<AddedToken> ReadAdded(JsonElement file)
    {
        var tokens = new List<AddedToken>();
        if (file.OrNull("added_tokens") is not { } list)
            return tokens;
        if (list.ValueKind != JsonValueKind.Array)
            throw new FormatException("its 'added_tokens' is not a list");
        foreach (var element in list.EnumerateArray())
        {
            string name = $"entry {tokens.Count} of its added_tokens";
            if (element.ValueKind != JsonValueKind.Object || element.TextOrNull("content") is not { Length: > 0 } content)
                throw new FormatException($"{name} has no content");
            if (element.OrNull("id") is not { } idField)
                throw new FormatException($"{name} has no id");
            int id = BytePairModel.TokenId(idField, name);
            if (_spellings.TryGetValue(id, out string? taken) && taken != content)
                throw new FormatException($"{name} ('{DataFormatException.Printable(content)}') has the id {id}, which is that of '{DataFormatException.Printable(taken)}'");
            tokens.Add(new AddedToken(id, content, element.IsTrue("special"), element.IsTrue("normalized"), element.IsTrue("lstrip"), element.IsTrue("rstrip"), element.IsTrue("single_word")));
        }
        return tokens;
    }

    /// <summary>The token that the post-processor puts before a text, or null.</summary>
    private int? IdBefore(JsonElement file) => file.OrNull("post_processor") is { } step ? IdBeforeIn(step) : null;

    private int? IdBeforeIn(JsonElement step)
    {
        string type = step.StepType("post-processor");
        if (type == "Sequence")
            return step.Need("processors", JsonValueKind.Array, "a list").EnumerateArray().Select(IdBeforeIn).FirstOrDefault(id => id is not null);
        if (type != "TemplateProcessing")
            return null;
        var first = step.Need("single", JsonValueKind.Array, "a list").EnumerateArray().FirstOrDefault();
        return first.OrNull("SpecialToken")?.TextOrNull("id") is not { } name ? null
            : IdOf(name) ?? throw new FormatException($"its post_processor begins texts with '{DataFormatException.Printable(name)}', which is no token of it");
    }

    /// <summary>The end token that the files beside it agree on: the tokenizer's where the model's list holds it, else the first of the list.</summary>
    private int? EndOf(TokenizerSettings settings)
    {
        int? named = IdOf(settings.Eos);
        return named is { } id && (settings.EndIds.Count == 0 || settings.EndIds.Contains(id)) ? named
            : settings.EndIds.Select(e => (int?)e).FirstOrDefault(e => e < VocabularySize) ?? named;
    }

    private int? IdOf(string? token) => token is null ? null
        : _addedById.Values.FirstOrDefault(t => t.Content == token)?.Id ?? (_model.Ids.TryGetValue(token, out int id) ? id : null);
}
