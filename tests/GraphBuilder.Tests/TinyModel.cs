using SorsaOrt.Ir;
using SorsaOrt.Ir.Serialization;
using SorsaOrt.TestSupport;

namespace SorsaOrt.GraphBuilder.Tests;

/// <summary>A language model of one MLP: embedding, gate and up in one packed weight, activation, down, lm_head.</summary>
internal sealed class TinyModel
{
    public const int Vocabulary = 20, Hidden = 8, Inner = 12;
    private readonly Random _random = new(5);

    public TinyModel() => Op = new OpBuilder(Graph) { Scope = "mlp" };

    public Graph Graph { get; } = new("tiny");

    public OpBuilder Op { get; }

    public Value Weight(string name, params long[] shape) =>
        Graph.AddInitializer(name, InMemoryTensor.Of([.. Enumerable.Range(0, (int)shape.Aggregate(1L, (p, d) => p * d)).Select(_ => 2 * _random.NextSingle() - 1)], shape));

    /// <summary>Embeddings [batch, sequence, hidden] of the input input_ids.</summary>
    public Value Embeddings() => Op.Gather(Weight("table", Vocabulary, Hidden), Graph.AddInput("input_ids", new TensorType(ElementType.Int64, [Dim.Symbol("batch"), Dim.Symbol("sequence")])));

    /// <summary>Gate and up as one product and the cuts of an exporter; the result is [batch, sequence, inner].</summary>
    public Value PackedMlp(Value x, bool slices, bool bias)
    {
        var both = Op.MatMul(x, Weight("gate_up", Hidden, 2 * Inner));
        if (bias)
            both = Op.Add(Weight("gate_up_bias", 2 * Inner), both);
        var parts = slices ? [Op.Slice(both, 2, 0, Inner), Op.Slice(both, 2, Inner, int.MaxValue)] : Op.Split(both, -1, Inner, Inner);
        return Op.Mul(Op.Mul(parts[0], Op.Unary("Sigmoid", parts[0])), parts[1]);
    }

    /// <summary>down, lm_head and the output logits; writes the file.</summary>
    public void Write(Value inner, string path)
    {
        var logits = Op.MatMul(Op.MatMul(inner, Weight("down", Inner, Hidden)), Weight("head", Hidden, Vocabulary));
        Graph.Rename(logits, "logits");
        Graph.AddOutput(logits);
        File.WriteAllBytes(path, OnnxWriter.ToBytes(Model()));
    }

    public Model Model()
    {
        var model = new Model(Graph);
        model.Opsets[""] = OpBuilder.WorkingOpset;
        model.Opsets["com.microsoft"] = 1;
        return model;
    }

    /// <summary>Logits of the file for 2 rows of 3 tokens.</summary>
    public static float[] Logits(string path) => OrtRun.Run(path, new Dictionary<string, OrtTensor> { ["input_ids"] = OrtTensor.Of(Ids, 2, 3) })["logits"].As<float>();

    public static long[] Ids => [1, 7, 19, 0, 4, 4];
}
