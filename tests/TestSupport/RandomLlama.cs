using System.Runtime.InteropServices;
using SorsaOrt.Ir;
using SorsaOrt.Ir.Serialization;

namespace SorsaOrt.TestSupport;

/// <summary>Makes a Llama of random weights of any size as an exporter would write it: decomposed operators, optimum's names, external data.</summary>
/// <remarks>Weights are streamed to the disk, one in memory at a time. 16-bit weights are widened by a Cast, so that the model computes in float32.</remarks>
public sealed record RandomLlama
{
    /// <summary>Words.</summary>
    public int Vocabulary { get; init; } = 256;

    /// <summary>Width of the hidden states.</summary>
    public int Hidden { get; init; } = 64;

    /// <summary>Width inside the MLP.</summary>
    public int Intermediate { get; init; } = 172;

    /// <summary>Transformer blocks.</summary>
    public int Layers { get; init; } = 2;

    /// <summary>Query heads.</summary>
    public int Heads { get; init; } = 4;

    /// <summary>Key and value heads.</summary>
    public int KeyValueHeads { get; init; } = 2;

    /// <summary>How weights are stored.</summary>
    public ElementType Dtype { get; init; } = ElementType.Float32;

    /// <summary>Whether lm_head reads the embedding, through a Transpose.</summary>
    public bool Tied { get; init; }

    /// <summary>Seed of the weights.</summary>
    public ulong Seed { get; init; } = 1;

    /// <summary>SmolLM2-135M: 30 layers of 576, MLP 1536, 9 heads of 64 with 3 for keys and values, 49152 words, tied.</summary>
    public static RandomLlama SmolLm2 => new()
    {
        Vocabulary = 49152,
        Hidden = 576,
        Intermediate = 1536,
        Layers = 30,
        Heads = 9,
        KeyValueHeads = 3,
        Tied = true,
    };

    /// <summary>Llama 2 7B: 32 layers of 4096, MLP 11008, 32 heads, 32000 words, untied, 16-bit.</summary>
    public static RandomLlama Llama7B => new()
    {
        Vocabulary = 32000,
        Hidden = 4096,
        Intermediate = 11008,
        Layers = 32,
        Heads = 32,
        KeyValueHeads = 32,
        Dtype = ElementType.Float16,
    };

    /// <summary>Bytes of the weights on disk.</summary>
    public long DataBytes => Dtype.ByteSize((long)Vocabulary * Hidden * (Tied ? 1 : 2)
        + Layers * (2L * Hidden * Hidden + 2L * Hidden * KeyValueHeads * HeadSize + 3L * Hidden * Intermediate));

    private int HeadSize => Hidden / Heads;

    /// <summary>Writes the model at <paramref name="path"/> and its weights beside it as <c>NAME_data</c>.</summary>
    public void Write(string path)
    {
        var graph = new RandomLlamaGraph(this).Build();
        using var model = new Model(graph) { ProducerName = "pytorch", ProducerVersion = "2.1.0" };
        model.Opsets[""] = OpBuilder.WorkingOpset;
        var folder = Path.GetDirectoryName(Path.GetFullPath(path))!;
        Directory.CreateDirectory(folder);
        var layout = ExternalLayout.InOneFile(model, Path.GetFileName(path) + "_data");
        layout.WriteData(location => new FileStream(Path.Combine(folder, location), FileMode.Create, FileAccess.Write, FileShare.None, 1 << 20));
        using var stream = new FileStream(path, FileMode.Create, FileAccess.Write);
        OnnxWriter.Write(model, stream, layout.Place);
    }

    /// <summary>A weight of values evenly between ±√3·<paramref name="deviation"/>, made when it is written.</summary>
    internal Tensor Weight(double deviation, ulong seed, params long[] shape) => new ComputedTensor(Dtype, shape, () =>
    {
        var count = checked((int)shape.Aggregate(1L, (product, d) => checked(product * d)));
        var width = (float)(2 * Math.Sqrt(3) * deviation);
        var state = new SplitMix64(unchecked(Seed * 1000003 + seed));
        if (Dtype == ElementType.Float32)
        {
            var floats = new byte[4L * count];
            foreach (ref var value in MemoryMarshal.Cast<byte, float>(floats.AsSpan()))
                value = Uniform(state.Next()) * width;
            return floats;
        }
        var bytes = new byte[2L * count];
        var halves = MemoryMarshal.Cast<byte, Half>(bytes.AsSpan());
        var block = new float[Math.Min(count, 4096)];
        for (var done = 0; done < count; done += block.Length)
        {
            var part = block.AsSpan(0, Math.Min(block.Length, count - done));
            foreach (ref var value in part)
                value = Uniform(state.Next()) * width;
            System.Numerics.Tensors.TensorPrimitives.ConvertToHalf(part, halves.Slice(done, part.Length));
        }
        return bytes;
    });

    // The upper 24 bits as a number in [-0.5, 0.5).
    private static float Uniform(ulong random) => ((random >> 40) * (1f / (1 << 24))) - 0.5f;
}

/// <summary>The graph of a <see cref="RandomLlama"/>.</summary>
internal sealed class RandomLlamaGraph
{
    private readonly RandomLlama _shape;
    private readonly Graph _graph = new("main_graph");
    private readonly OpBuilder _op;
    private readonly int _headSize;
    private ulong _weights;

    public RandomLlamaGraph(RandomLlama shape)
    {
        _shape = shape;
        _op = new OpBuilder(_graph);
        _headSize = shape.Hidden / shape.Heads;
    }

    public Graph Build()
    {
        var (batch, sequence) = (Dim.Symbol("batch_size"), Dim.Symbol("sequence_length"));
        var ids = _graph.AddInput("input_ids", new TensorType(ElementType.Int64, [batch, sequence]));
        var mask = _graph.AddInput("attention_mask", new TensorType(ElementType.Int64, [batch, sequence]));
        var positions = _graph.AddInput("position_ids", new TensorType(ElementType.Int64, [batch, sequence]));
        _op.Scope = "/model/embed_tokens";
        var embedding = _graph.AddInitializer("model.embed_tokens.weight", _shape.Weight(1, ++_weights, _shape.Vocabulary, _shape.Hidden));
        var x = _op.Cast(_op.Gather(embedding, ids), ElementType.Float32);
        var bias = MaskBias(ids, mask);
        var (cos, sin) = Rotation(positions);
        for (var layer = 0; layer < _shape.Layers; layer++)
            x = Block($"/model/layers.{layer}", x, bias, cos, sin);
        x = Norm("/model/norm", x);
        _op.Scope = "/lm_head";
        var logits = _shape.Tied ? _op.MatMul(x, _op.Cast(_op.Transpose(embedding, 1, 0), ElementType.Float32)) : Linear("/lm_head", x, _shape.Hidden, _shape.Vocabulary);
        _graph.Rename(logits, "logits");
        _graph.AddOutput(logits);
        return _graph;
    }

    private Value Block(string scope, Value x, Value bias, Value cos, Value sin)
    {
        var keyWidth = _shape.KeyValueHeads * _headSize;
        var normed = Norm(scope + "/input_layernorm", x);
        var q = Heads(scope + "/self_attn", Linear(scope + "/self_attn/q_proj", normed, _shape.Hidden, _shape.Hidden), _shape.Heads);
        var k = Heads(scope + "/self_attn", Linear(scope + "/self_attn/k_proj", normed, _shape.Hidden, keyWidth), _shape.KeyValueHeads);
        var v = Heads(scope + "/self_attn", Linear(scope + "/self_attn/v_proj", normed, _shape.Hidden, keyWidth), _shape.KeyValueHeads);
        _op.Scope = scope + "/self_attn";
        (q, k, v) = (Rotate(q, cos, sin), Repeat(Rotate(k, cos, sin)), Repeat(v));
        var scores = _op.Add(_op.Mul(_op.MatMul(q, _op.Transpose(k, 0, 1, 3, 2)), 1 / Math.Sqrt(_headSize)), bias);
        var context = _op.Transpose(_op.MatMul(_op.Softmax(scores, -1), v), 0, 2, 1, 3);
        x = Residual(scope, x, Linear(scope + "/self_attn/o_proj", _op.Reshape(context, 0, 0, _shape.Hidden), _shape.Hidden, _shape.Hidden));
        normed = Norm(scope + "/post_attention_layernorm", x);
        var gate = Linear(scope + "/mlp/gate_proj", normed, _shape.Hidden, _shape.Intermediate);
        _op.Scope = scope + "/mlp/act_fn";
        gate = _op.Mul(gate, _op.Unary("Sigmoid", gate));
        var up = Linear(scope + "/mlp/up_proj", normed, _shape.Hidden, _shape.Intermediate);
        _op.Scope = scope + "/mlp";
        return Residual(scope, x, Linear(scope + "/mlp/down_proj", _op.Mul(gate, up), _shape.Intermediate, _shape.Hidden));
    }

    private Value Residual(string scope, Value x, Value branch)
    {
        _op.Scope = scope;
        return _op.Add(x, branch);
    }

    private Value Linear(string scope, Value x, int from, int to)
    {
        _op.Scope = scope;
        _weights++;
        var weight = _graph.AddInitializer($"onnx::MatMul_{1000 + _weights}", _shape.Weight(1 / Math.Sqrt(from), _weights, from, to));
        return _op.MatMul(x, _op.Cast(weight, ElementType.Float32));
    }

    private Value Norm(string scope, Value x)
    {
        _op.Scope = scope;
        var weight = _graph.AddInitializer(scope[1..].Replace('/', '.') + ".weight", InMemoryTensor.Of(Ones(), _shape.Hidden));
        var mean = _op.Reduce("ReduceMean", _op.Emit("Pow", [x, _op.Scalar(2, x)]), true, -1);
        return _op.Mul(weight, _op.Mul(x, _op.Div(_op.Scalar(1, x), _op.Unary("Sqrt", _op.Add(mean, 1e-5)))));
    }

    private float[] Ones()
    {
        var ones = new float[_shape.Hidden];
        Array.Fill(ones, 1);
        return ones;
    }

    // [batch, sequence, heads·size] → [batch, heads, sequence, size]
    private Value Heads(string scope, Value x, int heads)
    {
        _op.Scope = scope;
        return _op.Transpose(_op.Reshape(x, 0, 0, heads, _headSize), 0, 2, 1, 3);
    }

    private Value Rotate(Value x, Value cos, Value sin)
    {
        var half = _headSize / 2;
        var turned = _op.Concat(-1, _op.Unary("Neg", _op.Slice(x, 3, half, long.MaxValue)), _op.Slice(x, 3, 0, half));
        return _op.Add(_op.Mul(x, cos), _op.Mul(turned, sin));
    }

    // Every key and value head stands for several query heads.
    private Value Repeat(Value x)
    {
        var times = _shape.Heads / _shape.KeyValueHeads;
        if (times == 1)
            return x;
        var shape = _op.ShapeOf(x);
        var (batch, sequence) = (_op.Slice(shape, 0, 0, 1), _op.Slice(shape, 0, 2, 3));
        var wide = _op.Concat(0, batch, _op.Integers(_shape.KeyValueHeads, times), sequence, _op.Integers(_headSize));
        return _op.Reshape(_op.Expand(_op.Unsqueeze(x, 2), wide), _op.Concat(0, batch, _op.Integers(_shape.Heads), sequence, _op.Integers(_headSize)));
    }

    // 0 where attention is allowed, the least float where not: [batch, 1, sequence, sequence].
    private Value MaskBias(Value ids, Value mask)
    {
        _op.Scope = "/model";
        var length = _op.Squeeze(_op.Slice(_op.ShapeOf(ids), 0, 1, 2), 0);
        var places = _op.Emit("Range", [_op.Constant(InMemoryTensor.Scalar(ElementType.Int64, 0)), length, _op.Constant(InMemoryTensor.Scalar(ElementType.Int64, 1))]);
        var causal = _op.Emit("LessOrEqual", [_op.Unsqueeze(places, 0), _op.Unsqueeze(places, 1)]);
        var allowed = _op.Emit("And", [causal, _op.Cast(_op.Unsqueeze(mask, 1, 2), ElementType.Bool)]);
        return _op.Where(allowed, _op.Constant(InMemoryTensor.Scalar(ElementType.Float32, 0)), _op.Constant(InMemoryTensor.Scalar(ElementType.Float32, float.MinValue)));
    }

    private (Value Cos, Value Sin) Rotation(Value positions)
    {
        _op.Scope = "/model/rotary_emb";
        var frequencies = new float[_headSize / 2];
        for (var i = 0; i < frequencies.Length; i++)
            frequencies[i] = (float)Math.Pow(10000, -2.0 * i / _headSize);
        var angles = _op.MatMul(_op.Unsqueeze(_op.Cast(positions, ElementType.Float32), 2), _op.Constant(InMemoryTensor.Of(frequencies, 1, 1, frequencies.Length)));
        var both = _op.Concat(-1, angles, angles);
        return (_op.Unsqueeze(_op.Unary("Cos", both), 1), _op.Unsqueeze(_op.Unary("Sin", both), 1));
    }
}
