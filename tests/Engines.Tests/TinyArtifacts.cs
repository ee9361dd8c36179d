using System.Runtime.InteropServices;
using SorsaOrt.Artifacts;
using SorsaOrt.GraphBuilder;
using SorsaOrt.Ir;
using SorsaOrt.Ir.Serialization;

namespace SorsaOrt.Engines.Tests;

/// <summary>An artifact folder around a model small enough to differentiate by hand: x = E[ids], z = x + ((x·Aᵀ)∘S)·Bᵀ, logits = z·Eᵀ, cross entropy.</summary>
internal static class TinyArtifacts
{
    public const int Vocabulary = 24;
    public const int Width = 8;
    public const int Rank = 3;

    public static readonly string[] Names = ["m.A", "m.B", "m.S"];

    /// <summary>A [r, in], B [out, r], S [r], flat in this order, A and B before S.</summary>
    public static IReadOnlyList<TrainedParameter> Parameters(TrainingMethod method = TrainingMethod.Sorsa) =>
    [
        new() { Name = "m.A", Module = "m", Part = ParameterPart.A, Shape = [Rank, Width], Offset = 0, Orthonormal = method == TrainingMethod.Sorsa ? Orthonormality.Rows : Orthonormality.None },
        new() { Name = "m.B", Module = "m", Part = ParameterPart.B, Shape = [Width, Rank], Offset = Rank * Width, Orthonormal = method == TrainingMethod.Sorsa ? Orthonormality.Columns : Orthonormality.None },
        new() { Name = "m.S", Module = "m", Part = ParameterPart.S, Shape = [Rank], Offset = 2 * Rank * Width, Orthonormal = Orthonormality.None },
    ];

    public static long ParameterCount => 2 * Rank * Width + Rank;

    /// <summary>Values between −0.5 and 0.5 that depend on <paramref name="seed"/> alone.</summary>
    public static float[] Noise(long count, int seed)
    {
        var random = new Random(seed);
        return [.. Enumerable.Range(0, (int)count).Select(_ => random.NextSingle() - 0.5f)];
    }

    public static float[] Embedding { get; } = Noise(Vocabulary * Width, 1);

    public static float[] InitialParameters { get; } = Noise(ParameterCount, 2);

    public static ArtifactSet Write(string path, TrainingMethod method = TrainingMethod.Sorsa) => Write(path, Parameters(method), InitialParameters, method);

    /// <summary>The same, but the gradient of the logits passes float16, as in artifacts of --compute-dtype fp16: it overflows where it is scaled too much.</summary>
    public static ArtifactSet WriteFloat16(string path, float[]? initial = null) => Write(path, Parameters(), initial ?? InitialParameters, compute: "f16");

    /// <summary>The same graphs with any parameters: for the optimizer alone.</summary>
    public static ArtifactSet Write(string path, IReadOnlyList<TrainedParameter> parameters, float[] initial, TrainingMethod method = TrainingMethod.Sorsa, string? compute = null)
    {
        using var folder = new StagedFolder(path);
        (string Name, Func<Model> Build)[] models =
        [
            (ArtifactFiles.TrainingModel, () => TrainingModel(true, compute is not null)),
            (ArtifactFiles.EvalModel, () => TrainingModel(false)),
        ];
        foreach (var (name, build) in models)
        {
            using var model = build();
            folder.Write(name, OnnxWriter.ToBytes(model));
        }
        OptimizerGraphs.Write(folder);
        using (var stream = folder.Create(ArtifactFiles.Parameters))
        {
            ParameterFile.Write(stream, parameters, FlatBuffers.View(initial));
            stream.Complete();
        }
        return ArtifactSet.Write(folder, new Manifest
        {
            Producer = "test",
            Source = new SourceModel { FileName = "none.onnx", Size = 1, Sha256 = new string('0', 64), Family = "test", Opset = 21 },
            Method = method,
            Rank = Rank,
            ResidualType = "f32",
            ComputeType = compute,
            TokenInputs = ["input_ids"],
            VocabularySize = Vocabulary,
            HiddenSize = Width,
            Layers = 1,
            Targets = [.. parameters.Select(p => p.Module).Distinct().Select(m => new TargetWeight { Module = m, Role = m, WeightName = m, ElementType = "f32", In = Width, Out = Width, Rank = Rank, Scale = 1, ResidualName = m })],
            Parameters = parameters,
            ParameterCount = initial.Length,
        });
    }

    /// <summary>Loss and gradients of the labels in double, written without the graph.</summary>
    public static (double Loss, double[] Gradient) Reference(float[] parameters, long[] ids, long[] positions, long[] labels)
    {
        double A(int k, int i) => parameters[k * Width + i];
        double B(int o, int k) => parameters[Rank * Width + o * Rank + k];
        double S(int k) => parameters[2 * Rank * Width + k];
        var gradient = new double[ParameterCount];
        var loss = 0.0;
        for (var n = 0; n < positions.Length; n++)
        {
            var row = (int)ids[positions[n]] * Width;
            var x = Enumerable.Range(0, Width).Select(i => (double)Embedding[row + i]).ToArray();
            var u = Enumerable.Range(0, Rank).Select(k => Enumerable.Range(0, Width).Sum(i => A(k, i) * x[i])).ToArray();
            var z = Enumerable.Range(0, Width).Select(o => x[o] + Enumerable.Range(0, Rank).Sum(k => B(o, k) * S(k) * u[k])).ToArray();
            var logits = Enumerable.Range(0, Vocabulary).Select(v => Enumerable.Range(0, Width).Sum(i => Embedding[v * Width + i] * z[i])).ToArray();
            var total = Math.Log(logits.Sum(Math.Exp));
            loss += total - logits[labels[n]];
            var dLogits = logits.Select((l, v) => Math.Exp(l - total) - (v == labels[n] ? 1 : 0)).ToArray();
            var dz = Enumerable.Range(0, Width).Select(i => Enumerable.Range(0, Vocabulary).Sum(v => dLogits[v] * Embedding[v * Width + i])).ToArray();
            for (var k = 0; k < Rank; k++)
            {
                var dw = Enumerable.Range(0, Width).Sum(o => dz[o] * B(o, k));
                for (var i = 0; i < Width; i++)
                {
                    gradient[k * Width + i] += dw * S(k) * x[i];
                    gradient[Rank * Width + i * Rank + k] += dz[i] * S(k) * u[k];
                }
                gradient[2 * Rank * Width + k] += dw * u[k];
            }
        }
        return (loss, gradient);
    }

    private static Model TrainingModel(bool gradients, bool narrow = false)
    {
        var graph = new Graph("tiny");
        var op = new OpBuilder(graph) { Scope = "tiny" };
        Value Input(string name, ElementType type, params Dim[] shape) => graph.AddInput(name, new TensorType(type, shape));
        var ids = Input("input_ids", ElementType.Int64, Dim.Symbol("batch"), Dim.Symbol("sequence"));
        var positions = Input("label_positions", ElementType.Int64, Dim.Symbol("labels"));
        var labels = Input("label_ids", ElementType.Int64, Dim.Symbol("labels"));
        var a = Input("m.A", ElementType.Float32, Rank, Width);
        var b = Input("m.B", ElementType.Float32, Width, Rank);
        var s = Input("m.S", ElementType.Float32, Rank);
        var embedding = graph.AddInitializer("embedding", InMemoryTensor.Of(Embedding, Vocabulary, Width));
        var x = op.Gather(op.Reshape(op.Gather(embedding, ids), -1, Width), positions);
        var u = op.Gemm(x, a, transB: true);
        var w = op.Mul(u, s);
        var z = op.Add(x, op.Gemm(w, b, transB: true));
        var logits = op.Gemm(z, embedding, transB: true);
        var oneHot = op.Emit("OneHot", [labels, op.Constant(InMemoryTensor.Of([(long)Vocabulary])), op.Constant(InMemoryTensor.Of([0f, 1f], 2))], NodeAttribute.Of("axis", -1));
        var logSoftmax = op.Emit("LogSoftmax", [logits], NodeAttribute.Of("axis", -1));
        Output(op, op.Unary("Neg", op.ReduceSum(op.Mul(logSoftmax, oneHot), false)), "loss_sum");
        if (gradients)
            AddGradients(op, (x, u, w, logits, oneHot, embedding), (a, b, s), narrow);
        else
            Output(op, logits, "logits");
        var model = new Model(graph);
        model.Opsets[""] = OpBuilder.WorkingOpset;
        return model;
    }

    private static void AddGradients(OpBuilder op, (Value X, Value U, Value W, Value Logits, Value OneHot, Value Embedding) f, (Value A, Value B, Value S) p, bool narrow)
    {
        var lossScale = op.Graph.AddInput("loss_scale", new TensorType(ElementType.Float32, []));
        Value Buffer(Value parameter) => op.Graph.AddInput(parameter.Name + "_grad.accumulation.buffer", parameter.Type);
        var dLogits = op.Mul(op.Sub(op.Softmax(f.Logits, -1), f.OneHot), lossScale);
        if (narrow)
            dLogits = op.Cast(op.Cast(dLogits, ElementType.Float16), ElementType.Float32);
        var dz = op.Gemm(dLogits, f.Embedding);
        var dw = op.Gemm(dz, p.B);
        // The three ways an accumulation can end: Gemm with C, Add with the buffer first, Add with the buffer last.
        Output(op, op.Gemm(op.Mul(dw, p.S), f.X, Buffer(p.A), transA: true), "m.A_grad.accumulation.out");
        Output(op, op.Add(Buffer(p.B), op.Gemm(dz, f.W, transA: true)), "m.B_grad.accumulation.out");
        Output(op, op.Add(op.ReduceSum(op.Mul(dw, f.U), false, 0), Buffer(p.S)), "m.S_grad.accumulation.out");
    }

    private static void Output(OpBuilder op, Value value, string name)
    {
        op.Graph.Rename(value, name);
        op.Graph.AddOutput(value);
    }

    /// <summary>A deterministic batch of 2 × 6 tokens with labels at 7 places.</summary>
    public static TokenBatch Batch(int seed, out long[] ids, out long[] positions, out long[] labels)
    {
        var random = new Random(seed);
        ids = [.. Enumerable.Range(0, 12).Select(_ => random.NextInt64(Vocabulary))];
        positions = [0, 1, 3, 4, 6, 8, 10];
        labels = [.. positions.Select(_ => random.NextInt64(Vocabulary))];
        return new TokenBatch { BatchSize = 2, SequenceLength = 6, InputIds = ids, LabelPositions = positions, LabelIds = labels };
    }

    public static float[] ToArray(FlatBuffer<float> buffer) => buffer.Slice(0, (int)buffer.Length).ToArray();

    public static byte[] Bytes(FlatBuffer<float> buffer) => MemoryMarshal.AsBytes(buffer.Slice(0, (int)buffer.Length)).ToArray();
}

/// <summary>A folder below the system's temporary one that goes away with the test.</summary>
internal sealed class TemporaryFolder : IDisposable
{
    public string Path { get; } = Directory.CreateTempSubdirectory("sorsa-test-").FullName;

    public string this[string name] => System.IO.Path.Combine(Path, name);

    public void Dispose() => Directory.Delete(Path, recursive: true);
}
