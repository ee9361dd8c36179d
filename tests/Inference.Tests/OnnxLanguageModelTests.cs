using SorsaOrt.Data;
using SorsaOrt.Engines;
using SorsaOrt.Ir;
using SorsaOrt.Ir.Serialization;
using SorsaOrt.TestSupport;

namespace SorsaOrt.Inference.Tests;

public sealed class OnnxLanguageModelTests
{
    private static readonly EngineOptions Cpu = new() { Threads = 1 };

    [Fact]
    public void Logits_OfTheFixture_AgreeWithPyTorch()
    {
        using var model = OnnxLanguageModel.Open(Paths.Fixture("nano-llama", "optimum-no-past.onnx"), Cpu);
        var golden = new GoldenInputs(Paths.Fixture("nano-llama", "inputs.json"));
        Assert.Equal(512, model.VocabularySize);
        Assert.Equal(512, model.MaxPositions);
        Assert.False(model.HasCache);
        Assert.InRange(Difference(model, golden, Paths.Fixture("nano-llama", "logits.f32")), 0, 1e-4f);
    }

    [Fact]
    public void Logits_OfEveryExport_AgreeWithPyTorch()
    {
        SkipWithoutShared();
        foreach (string export in GoldenInputs.Exports().Where(e => !e.Contains("bf16", StringComparison.Ordinal)))
        {
            string stored = Path.Combine(Folder(export), "logits_stored.f32");
            using var model = Open(export);
            float difference = Difference(model, Golden(export), File.Exists(stored) ? stored : Path.Combine(Folder(export), "..", "logits.f32"));
            Assert.True(difference <= Tolerance(export), $"{export}: {difference}");
        }
    }

    /// <summary>The CPU has no kernels for bfloat16: a copy computes in float32, which is said.</summary>
    [Fact]
    public void Logits_OfABFloat16Export_ComeFromACopyInFloat32()
    {
        var folder = Paths.Fixture("exports", "nano-llama", "dynamo-opset18-bf16-stripped");
        var notices = new List<string>();
        using (var model = OnnxLanguageModel.Open(Path.Combine(folder, "model.onnx"), Cpu, notices.Add))
            Assert.InRange(Difference(model, new GoldenInputs(Paths.Fixture("nano-llama", "inputs.json")), Path.Combine(folder, "logits_stored.f32")), 0, 7.1e-3f);
        Assert.Contains("it runs computing in float32", Assert.Single(notices), StringComparison.Ordinal);
    }

    [Fact]
    public void Steps_OfEveryExportWithCache_GiveTheLogitsOfTheWholeText()
    {
        SkipWithoutShared();
        int seen = 0;
        foreach (string export in GoldenInputs.Exports().Where(e => !e.Contains("bf16", StringComparison.Ordinal)))
        {
            using var model = Open(export);
            if (!model.HasCache)
                continue;
            seen++;
            int[] text = Golden(export).Row(0);
            int[] other = [.. text.AsEnumerable().Reverse()];
            using var continuation = model.Continue([text[..5], other[..5]]);
            for (int t = 5; t < text.Length; t++)
            {
                continuation.Append([text[t], other[t]]);
                AssertLogits(model, export, continuation, 0, text[..(t + 1)]);
                AssertLogits(model, export, continuation, 1, other[..(t + 1)]);
            }
        }
        Assert.True(seen >= 6, $"only {seen} exports with a cache");
    }

    [Fact]
    public void Steps_OfPromptsOfDifferentLengths_AreThoseOfEachAlone()
    {
        using var model = OnnxLanguageModel.Open(Paths.TinyMath("model.onnx"), Cpu);
        Assert.True(model.HasCache && model.MixesLengths);
        int[] text = [1, 300, 17, 940, 5, 61, 700, 812, 44, 90, 33, 410];
        int[][] prompts = [text[..3], text[..9], text[..1]];
        using var continuation = model.Continue(prompts);
        for (int step = 0; ; step++)
        {
            for (int row = 0; row < continuation.Rows; row++)
                AssertLogits(model, "optimum", continuation, row, prompts[row]);
            if (step == 2)
            {
                // The middle row leaves; the others' caches must move with them.
                Assert.True(continuation.Keep([0, 2]));
                prompts = [prompts[0], prompts[2]];
            }
            if (step == 5)
                break;
            int[] next = [.. prompts.Select((_, row) => text[(step + 5 * row) % text.Length])];
            continuation.Append(next);
            prompts = [.. prompts.Zip(next, (p, n) => (int[])[.. p, n])];
        }
    }

    [Fact]
    public void FusedAttention_TakesOneLengthPerBatch()
    {
        SkipWithoutShared();
        using var model = Open(Path.Combine("nano-llama-hd16", "genai-fp32-cpu"));
        Assert.True(model.HasCache);
        Assert.False(model.MixesLengths);
        Assert.Equal(512, model.MaxPositions);   // genai_config.json
    }

    [Theory]
    [InlineData("cache_position", "logits", "'cache_position'")]
    [InlineData("input_ids", "last_hidden_state", "'logits'")]
    [InlineData("past_key_values.0.key", "logits", "past inputs")]
    public void Open_RefusesWhatItCannotFeedByName(string input, string output, string named)
    {
        using var folder = new TemporaryFolder();
        string path = folder.At("model.onnx");
        WriteModel(path, input, output);
        var e = Assert.Throws<UnsupportedGraphException>(() => OnnxLanguageModel.Open(path, Cpu));
        Assert.Contains(named, e.Message, StringComparison.Ordinal);
        Assert.Contains(path, e.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Open_OfADamagedFile_NamesIt()
    {
        using var folder = new TemporaryFolder();
        string path = folder.At("model.onnx");
        File.WriteAllBytes(path, File.ReadAllBytes(Paths.Fixture("nano-llama", "optimum-no-past.onnx"))[..5000]);
        var e = Assert.Throws<ModelFormatException>(() => OnnxLanguageModel.Open(path, Cpu));
        Assert.Contains(path, e.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void TokensOfAnotherModel_AreRefused()
    {
        using var model = OnnxLanguageModel.Open(Paths.Fixture("nano-llama", "optimum-no-past.onnx"), Cpu);
        var foreign = Tokenizer.Load(Paths.TinyMath("tokenizer.model"));   // 1024 tokens, the model knows 512
        Assert.Contains("1024", Assert.Throws<DataFormatException>(() => model.Check(foreign)).Message, StringComparison.Ordinal);
        Assert.Contains("512", Assert.Throws<DataFormatException>(() => model.Continue([[1, 2], [1, 512]])).Message, StringComparison.Ordinal);
        Assert.Throws<DataFormatException>(() => model.Continue([[1, -1]]));
        Assert.Throws<DataFormatException>(() =>
        {
            model.Logits(new TokenBatch { BatchSize = 1, SequenceLength = 2, InputIds = [1, 600], LabelPositions = [1] });
        });
    }

    private static void WriteModel(string path, string input, string output)
    {
        var graph = new Graph("tiny");
        var op = new OpBuilder(graph) { Scope = "tiny" };
        Dim b = Dim.Symbol("batch"), s = Dim.Symbol("sequence");
        var ids = graph.AddInput("input_ids", new TensorType(ElementType.Int64, [b, s]));
        if (input != "input_ids")
            graph.AddInput(input, new TensorType(input.StartsWith("past", StringComparison.Ordinal) ? ElementType.Float32 : ElementType.Int64, [b, 2, s, 4]));
        var logits = op.Gather(graph.AddInitializer("table", InMemoryTensor.Of(new float[64], 8, 8)), ids);
        logits.Type = new TensorType(ElementType.Float32, [b, s, 8]);
        graph.Rename(logits, output);
        graph.AddOutput(logits);
        using var model = new Model(graph);
        model.Opsets[""] = OpBuilder.WorkingOpset;
        File.WriteAllBytes(path, OnnxWriter.ToBytes(model));
    }

    private static void AssertLogits(LanguageModel model, string export, Continuation continuation, int row, int[] text)
    {
        var whole = model.Logits(new TokenBatch
        {
            BatchSize = 1,
            SequenceLength = text.Length,
            InputIds = Array.ConvertAll(text, t => (long)t),
            LabelPositions = [text.Length - 1],
        });
        float difference = GoldenInputs.MaxDifference(whole, continuation.Logits.Slice(row * model.VocabularySize, model.VocabularySize));
        Assert.True(difference <= Tolerance(export), $"{export}, row {row}, {text.Length} tokens: {difference}");
    }

    /// <summary>Largest |Δlogit| allowed, after what shared/exports/README.md measured for the family.</summary>
    private static float Tolerance(string export) =>
        export.Contains("int4", StringComparison.Ordinal) ? 0.5f : export.Contains("fp16", StringComparison.Ordinal) ? 0.05f : 1e-4f;

    private static float Difference(OnnxLanguageModel model, GoldenInputs golden, string logitsPath)
    {
        float[] all = GoldenInputs.ReadFloats(logitsPath);
        float[] expected = [.. golden.Places.SelectMany(p => all.AsSpan((int)p * model.VocabularySize, model.VocabularySize).ToArray())];
        return GoldenInputs.MaxDifference(expected, model.Logits(golden.Batch));
    }

    private static string Folder(string export) => Paths.Shared("exports", export);

    private static GoldenInputs Golden(string export) => new(Path.Combine(Folder(export), "inputs.json"));

    private static OnnxLanguageModel Open(string export) => OnnxLanguageModel.Open(Path.Combine(Folder(export), "model.onnx"), Cpu);

    private static void SkipWithoutShared() => Assert.SkipWhen(Paths.SharedOrNull is null, "The folder shared is absent.");
}
