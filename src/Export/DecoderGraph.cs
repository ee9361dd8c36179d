using SorsaOrt.Ir;

namespace SorsaOrt.Export;

/// <summary>Writes a decoder as standard ONNX operators: token ids in, logits out, with or without a key/value cache.</summary>
/// <remarks>
/// Inputs, outputs and node names are those of optimum's text-generation exports, so that whatever runs those runs these. Only operators whose
/// meaning is the same from opset 18 to 21 are used. Each block is
/// x + o(attention(norm(x))), then x + down(silu(gate(norm(x))) · up(norm(x))). Source: transformers, modeling_llama.py.
/// </remarks>
internal sealed class DecoderGraph
{
    private readonly DecoderConfig _config;
    private readonly OpBuilder _op;
    private readonly GraphWeights _weights;
    private readonly TokenContext _context;
    private readonly bool _cache;
    private readonly List<(Value Value, string Name)> _presents = [];

    private DecoderGraph(DecoderConfig config, OpBuilder op, GraphWeights weights, bool cache)
    {
        (_config, _op, _weights, _cache) = (config, op, weights, cache);
        _context = new TokenContext(config, op, cache);
    }

    /// <summary>Fills the graph of <paramref name="op"/>, which is empty.</summary>
    public static void Build(DecoderConfig config, OpBuilder op, GraphWeights weights, bool cache) => new DecoderGraph(config, op, weights, cache).Build();

    private void Build()
    {
        var pasts = new List<(Value Key, Value Value)>();
        for (var layer = 0; _cache && layer < _config.Layers; layer++)
            pasts.Add((Past(layer, "key"), Past(layer, "value")));
        var table = _weights.Table("model.embed_tokens.weight", _config.Vocabulary, _config.HiddenSize);
        _op.Scope = "/model/embed_tokens";
        var x = _weights.Widened(_op.Gather(table, _context.Tokens));
        for (var layer = 0; layer < _config.Layers; layer++)
            x = Block(x, layer, _cache ? pasts[layer] : null);
        x = Norm(x, "model.norm", _config.HiddenSize);
        var logits = Head(x, table);
        Output(logits, "logits");
        foreach (var (present, name) in _presents)
            Output(present, name);
    }

    private Value Block(Value x, int layer, (Value Key, Value Value)? past)
    {
        var module = $"model.layers.{layer}";
        var attended = Attention(Norm(x, module + ".input_layernorm", _config.HiddenSize), layer, past);
        _op.Scope = Scope(module);
        x = _op.Add(x, attended);
        var fed = Mlp(Norm(x, module + ".post_attention_layernorm", _config.HiddenSize), module + ".mlp");
        _op.Scope = Scope(module);
        return _op.Add(x, fed);
    }

    /// <summary>softmax(q·kᵀ/√d + mask)·v by heads; the heads that share keys are rows of one product, so keys and values are never repeated.</summary>
    /// <remarks>q [B, H, S, d] is read as [B, K, H/K·S, d]; k and v are [B, K, T, d] with T = past + S.</remarks>
    private Value Attention(Value x, int layer, (Value Key, Value Value)? past)
    {
        var module = $"model.layers.{layer}.self_attn";
        var (heads, shared, size) = (_config.Heads, _config.KeyValueHeads, _config.HeadSize);
        var q = Heads(Linear(x, module + ".q_proj", heads * size, _config.HiddenSize, _config.QueryKeyValueBias), module, "q_norm", heads);
        var k = Heads(Linear(x, module + ".k_proj", shared * size, _config.HiddenSize, _config.QueryKeyValueBias), module, "k_norm", shared);
        var v = Heads(Linear(x, module + ".v_proj", shared * size, _config.HiddenSize, _config.QueryKeyValueBias), module, null, shared);
        _op.Scope = Scope(module);
        q = _context.Rotate(q, scaled: true);
        k = _context.Rotate(k, scaled: false);
        if (past is { } before)
        {
            k = _op.Concat(2, before.Key, k);
            v = _op.Concat(2, before.Value, v);
            _presents.Add((k, $"present.{layer}.key"));
            _presents.Add((v, $"present.{layer}.value"));
        }
        var grouped = heads != shared;
        var scores = _op.MatMul(grouped ? _op.Reshape(q, 0, shared, -1, size) : q, _op.Transpose(k, 0, 1, 3, 2));
        scores = _op.Add(grouped ? _op.Reshape(scores, 0, heads, -1, 0) : scores, _context.Mask(_config.WindowOf(layer)));
        var weights = _op.Softmax(scores, -1);
        var mixed = _op.MatMul(grouped ? _op.Reshape(weights, 0, shared, -1, 0) : weights, v);
        mixed = _op.Transpose(grouped ? _op.Reshape(mixed, 0, heads, -1, size) : mixed, 0, 2, 1, 3);
        return Linear(_op.Reshape(mixed, 0, 0, heads * size), module + ".o_proj", _config.HiddenSize, heads * size, _config.OutputBias);
    }

    // [B, S, heads·d] → [B, heads, S, d]
    private Value Heads(Value x, string module, string? norm, int heads)
    {
        _op.Scope = Scope(module);
        var split = _op.Reshape(x, 0, 0, heads, _config.HeadSize);
        if (_config.HeadNorms && norm is not null)
            split = Norm(split, $"{module}.{norm}", _config.HeadSize);
        _op.Scope = Scope(module);
        return _op.Transpose(split, 0, 2, 1, 3);
    }

    private Value Mlp(Value x, string module)
    {
        var gate = Linear(x, module + ".gate_proj", _config.IntermediateSize, _config.HiddenSize, _config.MlpBias);
        var up = Linear(x, module + ".up_proj", _config.IntermediateSize, _config.HiddenSize, _config.MlpBias);
        _op.Scope = Scope(module) + "/act_fn";
        var active = _op.Mul(gate, _op.Unary("Sigmoid", gate));
        _op.Scope = Scope(module);
        return Linear(_op.Mul(active, up), module + ".down_proj", _config.HiddenSize, _config.IntermediateSize, _config.MlpBias);
    }

    /// <summary>x / √(mean(x²) + ε) · weight, in the form that ONNX Runtime and FuseRmsNorm make one operator of.</summary>
    private Value Norm(Value x, string module, int width)
    {
        var weight = _weights.Vector(module + ".weight", width);
        _op.Scope = Scope(module);
        var mean = _op.Reduce("ReduceMean", _op.Emit("Pow", [x, _op.Scalar(2, x)]), true, -1);
        return _op.Mul(_op.Div(x, _op.Unary("Sqrt", _op.Add(mean, _config.Epsilon))), weight);
    }

    private Value Linear(Value x, string module, int outputs, int inputs, bool biased)
    {
        _op.Scope = Scope(module);
        var y = _op.MatMul(x, _weights.Linear(module, outputs, inputs));
        return biased ? _op.Add(y, _weights.Vector(module + ".bias", outputs)) : y;
    }

    private Value Head(Value x, Value table)
    {
        if (!_config.Tied)
            return Linear(x, "lm_head", _config.Vocabulary, _config.HiddenSize, false);
        _op.Scope = "/lm_head";
        return _op.MatMul(x, _op.Transpose(_weights.Widened(table), 1, 0));
    }

    private Value Past(int layer, string kind) => _op.Graph.AddInput($"past_key_values.{layer}.{kind}",
        new TensorType(ElementType.Float32, [TokenContext.Batch, _config.KeyValueHeads, TokenContext.Past, _config.HeadSize]));

    // The node keeps its name: the module path stands there.
    private void Output(Value value, string name)
    {
        var node = value.Producer!;
        var kept = node.Name;
        _op.Graph.Rename(value, name);
        node.Name = kept;
        _op.Graph.AddOutput(value);
    }

    private static string Scope(string module)
    {
        // /model/layers.0/self_attn/q_proj: the number stays with its list, as TorchScript writes it.
        var parts = module.Split('.');
        return parts is ["model", "layers", var layer, .. var rest] ? string.Join('/', ["/model", "layers." + layer, .. rest]) : "/" + string.Join('/', parts);
    }
}
