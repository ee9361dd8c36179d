using System.Text.Json;

namespace SorsaOrt.Artifacts.Tests;

/// <summary>A complete artifact folder of a few kilobytes, and checkpoints for it.</summary>
internal static class SmallArtifacts
{
    public const int Elements = 8 + 2 + 6;

    public static Manifest Manifest { get; } = new()
    {
        Producer = "sorsa 0.1.0",
        Source = new SourceModel
        {
            FileName = "model.onnx",
            Size = 1234,
            Sha256 = new string('a', 64),
            ExternalFiles = [new SourceDataFile { Path = "model.onnx.data", Size = 5 }],
            Family = "optimum",
            ProducerName = "pytorch",
            ProducerVersion = "2.9",
            Opset = 17,
        },
        Method = TrainingMethod.Sorsa,
        Rank = 2,
        Seed = 42,
        Svd = new SvdSettings { Method = "exact", Iterations = 0, Library = "managed" },
        ResidualType = "f32",
        TokenInputs = ["input_ids"],
        VocabularySize = 32,
        HiddenSize = 4,
        Layers = 1,
        Targets = [new TargetWeight
        {
            Module = "model.layers.0.self_attn.q_proj",
            Role = "q_proj",
            WeightName = "onnx::MatMul_435",
            Transposed = true,
            ElementType = "f32",
            In = 4,
            Out = 3,
            Rank = 2,
            Scale = 1,
            ResidualName = "onnx::MatMul_435",
        }],
        Parameters = [
            new TrainedParameter { Name = "q.A", Module = "model.layers.0.self_attn.q_proj", Part = ParameterPart.A, Shape = [2, 4], Offset = 0, Orthonormal = Orthonormality.Rows },
            new TrainedParameter { Name = "q.S", Module = "model.layers.0.self_attn.q_proj", Part = ParameterPart.S, Shape = [2], Offset = 8, Orthonormal = Orthonormality.None },
            new TrainedParameter { Name = "q.B", Module = "model.layers.0.self_attn.q_proj", Part = ParameterPart.B, Shape = [3, 2], Offset = 10, Orthonormal = Orthonormality.Columns },
        ],
        ParameterCount = Elements,
        ExternalTensors = [new ExternalTensorPlace { Name = "w", Location = "model.onnx.data", Offset = 0, Length = 5, Others = new Dictionary<string, string> { ["checksum"] = "x" } }],
        Extensions = new Dictionary<string, JsonElement> { ["inline"] = JsonSerializer.SerializeToElement(new { count = 3 }) },
    };

    public static float[] Values(int seed) => [.. Enumerable.Range(0, Elements).Select(i => seed + i / 16f)];

    public static ArtifactSet Build(string folder, Manifest? manifest = null)
    {
        using var staged = new StagedFolder(folder);
        using (DigestStream stream = staged.Create(ArtifactFiles.Parameters))
            ParameterFile.Write(stream, Manifest.Parameters, FlatBuffers.View(Values(1)));
        staged.Write(ArtifactFiles.TrainingModel, "training"u8);
        staged.Write(ArtifactFiles.FrozenData, [0, 1, 2, 3, 4, 5, 6, 7]);
        return ArtifactSet.Write(staged, manifest ?? Manifest);
    }

    public static string Save(CheckpointStore store, ArtifactSet artifacts, long step)
    {
        using CheckpointWriter writer = store.Begin(artifacts, step);
        writer.WriteParameters(FlatBuffers.View(Values((int)step)));
        writer.WriteMoments(FlatBuffers.View(Values(100)), FlatBuffers.View(Values(200)));
        writer.Commit(State);
        return writer.FinalPath;
    }

    public static CheckpointState State { get; } = new()
    {
        MicroBatchIndex = 128,
        Seed = 42,
        RandomState = new Dictionary<string, ulong> { ["dropout"] = ulong.MaxValue },
        Counters = new Dictionary<string, long> { ["evaluations_without_improvement"] = 2 },
        Options = new Dictionary<string, JsonElement> { ["lr"] = JsonSerializer.SerializeToElement(3e-5) },
        BestEvalLoss = 1.25,
    };

    /// <summary>Every file below a folder, relative path to content.</summary>
    public static Dictionary<string, byte[]> Contents(string folder) => Directory.GetFiles(folder, "*", SearchOption.AllDirectories)
        .ToDictionary(p => Path.GetRelativePath(folder, p), File.ReadAllBytes);
}
