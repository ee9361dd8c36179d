namespace SorsaOrt.Export.Tests;

/// <summary>A decoder's forward pass in float64, token by token, written from the papers' formulas and not from the exporter.</summary>
internal sealed record ReferenceDecoder
{
    public required int Hidden { get; init; }
    public required int Intermediate { get; init; }
    public required int Layers { get; init; }
    public required int Heads { get; init; }
    public required int KeyValueHeads { get; init; }
    public required int HeadSize { get; init; }
    public required int Vocabulary { get; init; }
    public double Epsilon { get; init; } = 1e-5;
    public bool Tied { get; init; }
    public bool AttentionBias { get; init; }
    public bool OutputBias { get; init; }
    public bool MlpBias { get; init; }
    public bool HeadNorms { get; init; }
    /// <summary>Window by layer; null: none.</summary>
    public Func<int, int?> Window { get; init; } = _ => null;
    /// <summary>Radians per position of pair i.</summary>
    public required Func<int, double> Frequency { get; init; }

    /// <summary>Random weights under their Hugging Face names, in no particular order of the graph.</summary>
    public IReadOnlyList<Weight> RandomWeights(int seed)
    {
        var random = new Random(seed);
        var weights = new List<Weight> { Matrix("model.embed_tokens.weight", Vocabulary, Hidden) };
        for (var layer = 0; layer < Layers; layer++)
        {
            var at = $"model.layers.{layer}.";
            weights.AddRange([Vector(at + "input_layernorm.weight", Hidden, 1), Vector(at + "post_attention_layernorm.weight", Hidden, 1)]);
            Linear(at + "self_attn.q_proj", Heads * HeadSize, Hidden, AttentionBias);
            Linear(at + "self_attn.k_proj", KeyValueHeads * HeadSize, Hidden, AttentionBias);
            Linear(at + "self_attn.v_proj", KeyValueHeads * HeadSize, Hidden, AttentionBias);
            Linear(at + "self_attn.o_proj", Hidden, Heads * HeadSize, OutputBias);
            Linear(at + "mlp.gate_proj", Intermediate, Hidden, MlpBias);
            Linear(at + "mlp.up_proj", Intermediate, Hidden, MlpBias);
            Linear(at + "mlp.down_proj", Hidden, Intermediate, MlpBias);
            if (HeadNorms)
                weights.AddRange([Vector(at + "self_attn.q_norm.weight", HeadSize, 1), Vector(at + "self_attn.k_norm.weight", HeadSize, 1)]);
        }
        weights.Add(Vector("model.norm.weight", Hidden, 1));
        if (!Tied)
            weights.Add(Matrix("lm_head.weight", Vocabulary, Hidden));
        return weights;

        Weight Matrix(string name, int rows, int columns) => new(name, [rows, columns], Values(rows * columns, 0, 1 / Math.Sqrt(columns)));
        Weight Vector(string name, int length, double mean) => new(name, [length], Values(length, mean, 0.3));
        // Values that bfloat16 and float16 hold exactly.
        float[] Values(int count, double mean, double spread) => [.. Enumerable.Range(0, count).Select(_ => (float)(Math.Round((mean + (spread * ((2 * random.NextDouble()) - 1))) * 64) / 64))];
        void Linear(string module, int rows, int columns, bool biased)
        {
            weights.Add(Matrix(module + ".weight", rows, columns));
            if (biased)
                weights.Add(Vector(module + ".bias", rows, 0));
        }
    }

    /// <summary>Logits [S, vocabulary] of one row; masked tokens are seen by no other, and positions are as given.</summary>
    public double[][] Logits(IReadOnlyList<Weight> weights, long[] ids, long[] mask, long[] positions)
    {
        var byName = weights.ToDictionary(w => w.Name);
        var x = ids.Select(id => Enumerable.Range(0, Hidden).Select(i => byName["model.embed_tokens.weight"].At(id, i)).ToArray()).ToArray();
        for (var layer = 0; layer < Layers; layer++)
        {
            var at = $"model.layers.{layer}.";
            var attended = Attention(x.Select(t => Norm(t, byName[at + "input_layernorm.weight"])).ToArray(), layer, mask, positions, byName);
            for (var t = 0; t < x.Length; t++)
            {
                x[t] = Sum(x[t], attended[t]);
                var h = Norm(x[t], byName[at + "post_attention_layernorm.weight"]);
                var gate = Apply(h, at + "mlp.gate_proj", byName);
                var up = Apply(h, at + "mlp.up_proj", byName);
                x[t] = Sum(x[t], Apply([.. gate.Zip(up, (g, u) => g / (1 + Math.Exp(-g)) * u)], at + "mlp.down_proj", byName));
            }
        }
        var head = byName[Tied ? "model.embed_tokens.weight" : "lm_head.weight"];
        return [.. x.Select(t => Product(head, Norm(t, byName["model.norm.weight"])))];
    }

    private double[][] Attention(double[][] x, int layer, long[] mask, long[] positions, Dictionary<string, Weight> weights)
    {
        var at = $"model.layers.{layer}.self_attn.";
        double[][] Projected(string name) => [.. x.Select(t => Apply(t, at + name, weights))];
        var (q, k, v) = (Projected("q_proj"), Projected("k_proj"), Projected("v_proj"));
        for (var t = 0; t < x.Length; t++)
        {
            q[t] = Prepared(q[t], Heads, at + "q_norm.weight", positions[t]);
            k[t] = Prepared(k[t], KeyValueHeads, at + "k_norm.weight", positions[t]);
        }
        var mixed = new double[x.Length][];
        for (var t = 0; t < x.Length; t++)
        {
            mixed[t] = new double[Heads * HeadSize];
            for (var head = 0; head < Heads; head++)
            {
                var shared = head / (Heads / KeyValueHeads);
                var seen = Enumerable.Range(0, t + 1).Where(s => mask[s] == 1 && (Window(layer) is not { } w || s > t - w)).ToArray();
                var scores = seen.Select(s => Enumerable.Range(0, HeadSize).Sum(i => q[t][(head * HeadSize) + i] * k[s][(shared * HeadSize) + i]) / Math.Sqrt(HeadSize)).ToArray();
                var most = scores.DefaultIfEmpty().Max();
                var total = scores.Sum(s => Math.Exp(s - most));
                for (var i = 0; i < HeadSize; i++)
                    mixed[t][(head * HeadSize) + i] = seen.Zip(scores).Sum(p => Math.Exp(p.Second - most) / total * v[p.First][(shared * HeadSize) + i]);
            }
        }
        return [.. mixed.Select(t => Apply(t, at + "o_proj", weights))];

        double[] Prepared(double[] row, int heads, string norm, long position) =>
            [.. Enumerable.Range(0, heads).SelectMany(h => Rotated(HeadNorms ? Norm(row[(h * HeadSize)..((h + 1) * HeadSize)], weights[norm]) : row[(h * HeadSize)..((h + 1) * HeadSize)], position))];
    }

    private double[] Rotated(double[] head, long position)
    {
        var (result, half) = (new double[head.Length], head.Length / 2);
        for (var i = 0; i < half; i++)
        {
            var (sin, cos) = Math.SinCos(position * Frequency(i));
            result[i] = (head[i] * cos) - (head[i + half] * sin);
            result[i + half] = (head[i + half] * cos) + (head[i] * sin);
        }
        return result;
    }

    private double[] Norm(double[] x, Weight weight)
    {
        var root = Math.Sqrt(x.Average(v => v * v) + Epsilon);
        return [.. x.Select((v, i) => v / root * weight.Values[i])];
    }

    private static double[] Apply(double[] x, string module, Dictionary<string, Weight> weights)
    {
        var y = Product(weights[module + ".weight"], x);
        return weights.TryGetValue(module + ".bias", out var bias) ? Sum(y, [.. bias.Values.Select(b => (double)b)]) : y;
    }

    private static double[] Product(Weight weight, double[] x) => [.. Enumerable.Range(0, (int)weight.Shape[0]).Select(r => Enumerable.Range(0, x.Length).Sum(c => weight.At(r, c) * x[c]))];

    private static double[] Sum(double[] a, double[] b) => [.. a.Zip(b, (x, y) => x + y)];
}
