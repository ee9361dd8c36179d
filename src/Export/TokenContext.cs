using SorsaOrt.Ir;

namespace SorsaOrt.Export;

/// <summary>What all layers share, computed once a run from the token inputs: rotary tables and masks.</summary>
/// <remarks>
/// Rotation of pairs half a head apart: x·cos + swap(x)·sin′, where swap exchanges the halves and sin′ is negative in the first.
/// The tables for queries carry the factor 1/√d of attention, so no layer multiplies by it.
/// </remarks>
internal sealed class TokenContext
{
    /// <summary>Rows.</summary>
    public static readonly Dim Batch = Dim.Symbol("batch_size");

    /// <summary>New tokens of each row.</summary>
    public static readonly Dim Sequence = Dim.Symbol("sequence_length");

    /// <summary>Tokens in the cache.</summary>
    public static readonly Dim Past = Dim.Symbol("past_sequence_length");

    private readonly DecoderConfig _config;
    private readonly OpBuilder _op;
    private readonly bool _cache;
    private readonly Value _attended;
    private readonly Value _positions;
    private readonly Dictionary<int, Value> _masks = [];
    private (Value Cos, Value Sin) _tables, _scaledTables;

    /// <summary>Adds the inputs of <paramref name="op"/>'s graph.</summary>
    public TokenContext(DecoderConfig config, OpBuilder op, bool cache)
    {
        (_config, _op, _cache) = (config, op, cache);
        Tokens = Input("input_ids", Sequence);
        _attended = Input("attention_mask", cache ? Past + Sequence : Sequence);
        _positions = Input("position_ids", Sequence);
    }

    /// <summary>input_ids, i64 [batch, sequence].</summary>
    public Value Tokens { get; }

    /// <summary>Rotates x [B, heads, S, d] by its tokens' positions; <paramref name="scaled"/> multiplies by 1/√d as well.</summary>
    public Value Rotate(Value x, bool scaled)
    {
        if (_tables.Cos is null)
            AddTables();
        var (cos, sin) = scaled ? _scaledTables : _tables;
        var halves = _op.Split(x, -1, _config.HeadSize / 2, _config.HeadSize / 2);
        return _op.Add(_op.Mul(x, cos), _op.Mul(_op.Concat(-1, halves[1], halves[0]), sin));
    }

    /// <summary>0 where a token may look, else the lowest finite number: [B, 1, S, T]. A row that may look nowhere gives no NaN.</summary>
    public Value Mask(int? window)
    {
        if (_masks.TryGetValue(window ?? 0, out var known))
            return known;
        var scope = _op.Scope;
        _op.Scope = window is null ? "/model/causal_mask" : "/model/sliding_mask";
        var length = Length(_attended);
        var start = _cache ? _op.Sub(length, Length(Tokens)) : Integer(0);
        var keys = _op.Unsqueeze(Range(Integer(0), length), 0);
        var queries = _op.Unsqueeze(Range(start, length), 1);
        var seen = _op.Emit("LessOrEqual", [keys, queries]);
        if (window is { } width)
            seen = _op.Emit("And", [seen, _op.Emit("Greater", [keys, _op.Sub(queries, Integer(width))])]);
        var present = _op.Unsqueeze(_op.Cast(_attended, ElementType.Bool), 1, 2);
        var zero = _op.Constant(InMemoryTensor.Of([0f]));
        var mask = _op.Where(_op.Emit("And", [seen, present]), zero, _op.Constant(InMemoryTensor.Of([float.MinValue])));
        _op.Scope = scope;
        return _masks[window ?? 0] = mask;
    }

    private void AddTables()
    {
        var scope = _op.Scope;
        _op.Scope = "/model/rotary_emb";
        var frequencies = _op.Constant(InMemoryTensor.Of(
            [.. _config.Scaling.Frequencies(_config.RotaryBase, _config.HeadSize).Select(f => (float)f)], 1, 1, _config.HeadSize / 2));
        var angles = _op.Mul(_op.Unsqueeze(_op.Cast(_positions, ElementType.Float32), 2), frequencies);
        var (cos, sin) = (_op.Unary("Cos", angles), _op.Unary("Sin", angles));
        _tables = (_op.Unsqueeze(_op.Concat(-1, cos, cos), 1), _op.Unsqueeze(_op.Concat(-1, _op.Unary("Neg", sin), sin), 1));
        var scale = 1 / Math.Sqrt(_config.HeadSize);
        _scaledTables = (_op.Mul(_tables.Cos, scale), _op.Mul(_tables.Sin, scale));
        _op.Scope = scope;
    }

    private Value Input(string name, Dim length) => _op.Graph.AddInput(name, new TensorType(ElementType.Int64, [Batch, length]));

    private Value Integer(long value) => _op.Constant(InMemoryTensor.Of([value]));

    // The second dimension as a scalar.
    private Value Length(Value tokens) => _op.Gather(_op.ShapeOf(tokens), Integer(1));

    private Value Range(Value start, Value end) => _op.Emit("Range", [start, end, Integer(1)]);
}
