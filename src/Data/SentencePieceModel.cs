using System.Globalization;
using System.Text;
using Google.Protobuf;

namespace SorsaOrt.Data;

/// <summary>The content of a SentencePiece <c>tokenizer.model</c> (BPE), checked.</summary>
/// <remarks>Source: sentencepiece_model.proto of google/sentencepiece: ModelProto { 1: pieces { 1: piece, 2: score, 3: type }, 2: trainer_spec, 3: normalizer_spec }.</remarks>
internal sealed class SentencePieceModel
{
    public const long MaxFileBytes = 64L << 20;
    private const int MaxPieceBytes = 1 << 12;
    private const int BpeModelType = 2;
    private static readonly UTF8Encoding StrictUtf8 = new(false, throwOnInvalidBytes: true);

    private readonly string _file;
    private readonly List<string> _pieces = [];
    private readonly List<float> _scores = [];
    private readonly List<PieceType> _types = [];
    private int _modelType = 1;
    private bool _hasTrainerSpec;
    private int _charsMapBytes;

    private SentencePieceModel(string file) => _file = file;

    internal enum PieceType { Normal = 1, Unknown = 2, Control = 3, UserDefined = 4, Unused = 5, Byte = 6 }

    public IReadOnlyList<string> Pieces => _pieces;
    public IReadOnlyList<float> Scores => _scores;
    public IReadOnlyList<PieceType> Types => _types;
    public int UnknownId { get; private set; } = -1;
    public int BosId { get; private set; } = 1;
    public int EosId { get; private set; } = 2;
    public bool ByteFallback { get; private set; }
    public bool AddDummyPrefix { get; private set; } = true;
    public bool RemoveExtraWhiteSpaces { get; private set; } = true;
    public bool EscapeWhiteSpaces { get; private set; } = true;
    public bool TreatWhitespaceAsSuffix { get; private set; }

    /// <summary>Id of the byte piece of every byte value; null without byte fallback.</summary>
    public int[]? ByteIds { get; private set; }

    public static SentencePieceModel Parse(string file, byte[] bytes)
    {
        var model = new SentencePieceModel(file);
        try
        {
            model.ReadModel(new CodedInputStream(bytes));
        }
        catch (InvalidProtocolBufferException e)
        {
            throw model.Bad("it is cut short or not a SentencePiece model (" + e.Message.TrimEnd('.') + ")", e);
        }
        catch (DecoderFallbackException e)
        {
            throw model.Bad($"piece {model._pieces.Count} is not UTF-8", e);
        }
        model.Check();
        return model;
    }

    private DataFormatException Bad(string reason, Exception? inner = null) =>
        new(_file, "this tokenizer cannot be used: " + reason, "Use the tokenizer.model that came with the model.", inner);

    private void ReadModel(CodedInputStream input)
    {
        for (uint tag = input.ReadTag(); tag != 0; tag = input.ReadTag())
        {
            switch (tag)
            {
                case 10: ReadPiece(input.ReadBytes().CreateCodedInput()); break;
                case 18: ReadTrainerSpec(input.ReadBytes().CreateCodedInput()); break;
                case 26: ReadNormalizerSpec(input.ReadBytes().CreateCodedInput()); break;
                default: input.SkipLastField(); break;
            }
        }
    }

    private void ReadPiece(CodedInputStream input)
    {
        string piece = "";
        float score = 0;
        int type = (int)PieceType.Normal;
        for (uint tag = input.ReadTag(); tag != 0; tag = input.ReadTag())
        {
            switch (tag)
            {
                case 10:
                    var bytes = input.ReadBytes();
                    if (bytes.Length > MaxPieceBytes)
                        throw Bad($"piece {_pieces.Count} has {bytes.Length} bytes, more than {MaxPieceBytes}");
                    piece = StrictUtf8.GetString(bytes.Span);
                    break;
                case 21: score = input.ReadFloat(); break;
                case 24: type = input.ReadInt32(); break;
                default: input.SkipLastField(); break;
            }
        }
        if (piece.Length == 0)
            throw Bad($"piece {_pieces.Count} has no text");
        if (!float.IsFinite(score))
            throw Bad($"piece {_pieces.Count} ('{DataFormatException.Printable(piece)}') has the score {score.ToString(CultureInfo.InvariantCulture)}");
        if (type is < (int)PieceType.Normal or > (int)PieceType.Byte or (int)PieceType.Unused)
            throw Bad($"piece {_pieces.Count} ('{DataFormatException.Printable(piece)}') is of type {type}, which is not supported");
        _pieces.Add(piece);
        _scores.Add(score);
        _types.Add((PieceType)type);
    }

    private void ReadTrainerSpec(CodedInputStream input)
    {
        _hasTrainerSpec = true;
        for (uint tag = input.ReadTag(); tag != 0; tag = input.ReadTag())
        {
            switch (tag >> 3, tag & 7)
            {
                case (3, 0): _modelType = input.ReadInt32(); break;
                case (24, 0): TreatWhitespaceAsSuffix = input.ReadBool(); break;
                case (35, 0): ByteFallback = input.ReadBool(); break;
                case (41, 0): BosId = input.ReadInt32(); break;
                case (42, 0): EosId = input.ReadInt32(); break;
                default: input.SkipLastField(); break;
            }
        }
    }

    private void ReadNormalizerSpec(CodedInputStream input)
    {
        for (uint tag = input.ReadTag(); tag != 0; tag = input.ReadTag())
        {
            switch (tag >> 3, tag & 7)
            {
                case (2, 2): _charsMapBytes = input.ReadBytes().Length; break;
                case (3, 0): AddDummyPrefix = input.ReadBool(); break;
                case (4, 0): RemoveExtraWhiteSpaces = input.ReadBool(); break;
                case (5, 0): EscapeWhiteSpaces = input.ReadBool(); break;
                default: input.SkipLastField(); break;
            }
        }
    }

    private void Check()
    {
        if (_pieces.Count == 0 || !_hasTrainerSpec)
            throw Bad("it is cut short or not a SentencePiece model: it has " + (_pieces.Count == 0 ? "no pieces" : "no trainer section"));
        if (_modelType != BpeModelType)
            throw Bad($"its model type is {_modelType switch { 1 => "UNIGRAM", 3 => "WORD", 4 => "CHAR", var t => $"{t}" }}; Llama models use BPE");
        if (_charsMapBytes > 0)
            throw Bad("it normalises text with a character map; only the identity, which Llama models use, is supported");
        var seen = new HashSet<string>(StringComparer.Ordinal);
        for (int id = 0; id < _pieces.Count; id++)
        {
            if (!seen.Add(_pieces[id]))
                throw Bad($"piece {id} ('{DataFormatException.Printable(_pieces[id])}') stands there twice");
            if (_types[id] == PieceType.Unknown)
                UnknownId = UnknownId < 0 ? id : throw Bad($"pieces {UnknownId} and {id} both are the unknown piece");
        }
        if (UnknownId < 0)
            throw Bad("it has no unknown piece");
        if (EosId < 0 || EosId >= _pieces.Count)
            throw Bad($"its end-of-sentence id {EosId} is not one of its {_pieces.Count} pieces");
        if (BosId < -1 || BosId >= _pieces.Count)
            throw Bad($"its begin-of-sentence id {BosId} is not one of its {_pieces.Count} pieces");
        FindBytePieces();
    }

    private void FindBytePieces()
    {
        int[] ids = new int[256];
        Array.Fill(ids, -1);
        for (int id = 0; id < _pieces.Count; id++)
        {
            if (_types[id] != PieceType.Byte)
                continue;
            ids[ByteOf(id) ?? throw Bad($"piece {id} ('{DataFormatException.Printable(_pieces[id])}') is no byte: <0x00> to <0xFF> are")] = id;
        }
        if (!ByteFallback)
            return;
        int missing = Array.IndexOf(ids, -1);
        if (missing >= 0)
            throw Bad($"it spells unknown characters as bytes but has no piece <0x{missing:X2}>");
        ByteIds = ids;
    }

    /// <summary>The byte that piece <paramref name="id"/> stands for, or null.</summary>
    public byte? ByteOf(int id) =>
        _types[id] == PieceType.Byte && _pieces[id] is ['<', '0', 'x', var high, var low, '>'] && char.IsAsciiHexDigit(high) && char.IsAsciiHexDigit(low)
            ? byte.Parse([high, low], NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture)
            : null;
}
