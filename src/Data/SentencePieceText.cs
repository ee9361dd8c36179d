using System.Text;
using Microsoft.ML.Tokenizers;
using SorsaOrt.Data.TokenizerJson;
using PieceType = SorsaOrt.Data.SentencePieceModel.PieceType;

namespace SorsaOrt.Data;

/// <summary>A SentencePiece tokenizer.model.</summary>
/// <remarks>A row's text never becomes a control token: an answer that spells "&lt;/s&gt;" is encoded as those four characters.</remarks>
internal sealed class SentencePieceText : Tokenizer
{
    private static readonly byte[] UnknownSign = Encoding.UTF8.GetBytes(" \u2047 ");    // as SentencePiece shows it

    private readonly SentencePieceModel _model;
    private readonly SentencePieceMerges _merges;
    private readonly AddedTokens _control;
    private readonly SentencePieceNormalizer _begin;
    private readonly SentencePieceNormalizer _continue;

    public SentencePieceText(string path, SentencePieceModel model, TokenizerSettings settings) : base(path, settings)
    {
        _model = model;
        _merges = new SentencePieceMerges(model);
        _control = new AddedTokens(model.Pieces.Index().Where(p => model.Types[p.Index] == PieceType.Control)
            .Select(p => new AddedToken(p.Index, p.Item, IsSpecial: true, IsNormalized: false, TakesLeft: false, TakesRight: false, IsWord: false)));
        _begin = Normalizer(model.AddDummyPrefix);
        _continue = Normalizer(dummyPrefix: false);
        EndIds = [.. settings.EndIds.Where(id => id >= 0 && id < VocabularySize).Prepend(EosId).Distinct()];
        SentencePieceNormalizer Normalizer(bool dummyPrefix) =>
            new(model.RemoveExtraWhiteSpaces, dummyPrefix, model.EscapeWhiteSpaces, model.TreatWhitespaceAsSuffix, specialTokens: null);
    }

    /// <inheritdoc/>
    public override int BosId => _model.BosId;

    /// <inheritdoc/>
    public override int EosId => _model.EosId;

    /// <inheritdoc/>
    public override int PaddingId => _model.EosId;

    /// <inheritdoc/>
    public override IReadOnlyList<int> EndIds { get; }

    /// <inheritdoc/>
    public override int VocabularySize => _model.Pieces.Count;

    internal override bool StripsLeadingSpace => _model.AddDummyPrefix;

    internal override bool ReplacesEveryByte => true;

    /// <inheritdoc/>
    public override void Encode(string text, bool continues, List<int> ids, IReadOnlyList<TextSpan>? data = null)
    {
        ArgumentNullException.ThrowIfNull(text);
        ArgumentNullException.ThrowIfNull(ids);
        if (data is null)
        {
            EncodePlain(text, continues, ids);
            return;
        }
        foreach (var part in _control.Split(text, data))   // what a template writes itself may name control tokens
        {
            if (part.Token is { } token)
                ids.Add(token.Id);
            else
                EncodePlain(part.Text, continues, ids);
            continues = true;
        }
    }

    private void EncodePlain(string text, bool continues, List<int> ids)
    {
        if (text.Length > 0)
            _merges.Encode((continues ? _continue : _begin).Normalize(text), ids);
    }

    /// <inheritdoc/>
    internal override TokenPiece Piece(int id)
    {
        if (id < 0 || id >= VocabularySize)
            throw OutOfRange(id);
        return _model.Types[id] switch
        {
            PieceType.Byte => new(new[] { _model.ByteOf(id)!.Value }, IsByte: true, IsSpecial: false),
            PieceType.Unknown => new(UnknownSign, IsByte: false, IsSpecial: false),
            var type => new(Encoding.UTF8.GetBytes(_model.Pieces[id].Replace('\u2581', ' ')), IsByte: false, type == PieceType.Control),
        };
    }
}
