using SorsaOrt.Artifacts;
using SorsaOrt.Ir;
using SorsaOrt.TestSupport;

namespace SorsaOrt.Export.Tests;

/// <summary>The hostile corpus through the exporter: GGUF files, config.json files, and safetensors files as the weights of a folder.</summary>
public sealed class HostileSourcesTests
{
    public static TheoryData<string> Gguf() => Ids("gguf");

    public static TheoryData<string> Configs() => Ids("hf-config");

    public static TheoryData<string> Safetensors() => Ids("safetensors");

    [Theory]
    [MemberData(nameof(Gguf))]
    public void GgufFile_IsTreatedAsTheCorpusSays(string id)
    {
        Assert.SkipWhen(id == "absent", "../shared/hostile is absent");
        ForEachVariant(id, (hostile, path, output) => Check(hostile, hostile.Expect, path, output));
    }

    [Theory]
    [MemberData(nameof(Configs))]
    public void ConfigFile_OfAModel_IsTreatedAsTheCorpusSays(string id)
    {
        Assert.SkipWhen(id == "absent", "../shared/hostile is absent");
        ForEachVariant(id, (hostile, path, output) =>
        {
            var folder = Path.GetDirectoryName(path)!;
            File.Delete(Path.Combine(folder, "model.onnx"));
            File.Copy(Paths.Shared("hostile", "safetensors", "control.safetensors"), Path.Combine(folder, "model.safetensors"));
            Check(hostile, id == "hf-config/control" ? "accept" : "reject", folder, output);
        });
    }

    [Theory]
    [MemberData(nameof(Safetensors))]
    public void SafetensorsFile_OfAModel_IsRefused_OrIsTheControl(string id)
    {
        Assert.SkipWhen(id == "absent", "../shared/hostile is absent");
        ForEachVariant(id, (hostile, path, output) =>
        {
            var folder = Directory.CreateDirectory(path + ".folder").FullName;
            File.Copy(Paths.Shared("hostile", "hf-config", "control", "config.json"), Path.Combine(folder, "config.json"));
            File.Move(path, Path.Combine(folder, Path.GetFileName(path)));
            // A file of other tensors is a good file and no model.
            Check(hostile, id == "safetensors/control" ? "accept" : hostile.Expect == "either" ? "either" : "reject", folder, output);
        });
    }

    [Theory]
    [InlineData("""{"model_type": "\ud800"}""")]
    [InlineData("""{"\udc00": 1}""")]
    public void HalfOfASurrogatePair_IsRefusedByItsFile(string config)
    {
        using var folder = new TemporaryFolder();
        Directory.CreateDirectory(folder.At("source"));
        File.WriteAllText(folder.At("source", "config.json"), config);

        var refusal = Assert.Throws<ModelFormatException>(() => Export(folder.At("source"), folder.At("out", "model.onnx")));

        Assert.Contains("config.json", refusal.Message, StringComparison.Ordinal);
        Assert.Contains("Unicode", refusal.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(float.NaN)]
    [InlineData(float.NegativeInfinity)]
    public void ValueThatIsNotFinite_IsRefusedByItsTensor(float value)
    {
        using var folder = new TemporaryFolder();
        ModelFolder.NanoLlama(folder.At("source"));
        var path = folder.At("source", "model.safetensors");
        using (var reader = SafetensorsReader.Open(path))
        {
            var entry = reader["model.layers.3.mlp.down_proj.weight"];
            reader.Dispose();
            using var file = new FileStream(path, FileMode.Open) { Position = entry.Offset + 4000 };
            file.Write(BitConverter.GetBytes(value));
        }
        var before = folder.Everything();
        var refusal = Assert.Throws<ModelFormatException>(() => Export(folder.At("source"), folder.At("out", "model.onnx")));
        Assert.Contains("model.layers.3.mlp.down_proj.weight", refusal.Message, StringComparison.Ordinal);
        Assert.Equal(before, folder.Everything());
    }

    [Fact]
    public void ValueBeyondFloat16_IsRefusedByItsTensor_AndFineInBFloat16()
    {
        using var folder = new TemporaryFolder();
        ModelFolder.NanoLlama(folder.At("source"));
        var path = folder.At("source", "model.safetensors");
        long offset;
        using (var reader = SafetensorsReader.Open(path))
            offset = reader["model.embed_tokens.weight"].Offset;
        using (var file = new FileStream(path, FileMode.Open) { Position = offset })
            file.Write(BitConverter.GetBytes(70000f));
        var refusal = Assert.Throws<ModelFormatException>(() => Export(folder.At("source"), folder.At("a.onnx"), ElementType.Float16));
        Assert.Contains("model.embed_tokens.weight", refusal.Message, StringComparison.Ordinal);
        Assert.Contains("f16", refusal.Message, StringComparison.Ordinal);
        Export(folder.At("source"), folder.At("b.onnx"), ElementType.BFloat16);
    }

    [Theory]
    [InlineData("../elsewhere.safetensors")]
    [InlineData("/etc/passwd")]
    [InlineData("sub/model.safetensors")]
    [InlineData("..")]
    [InlineData("a\\b")]
    public void IndexThatLeavesTheFolder_IsRefused(string name)
    {
        using var folder = new TemporaryFolder();
        ModelFolder.NanoLlama(folder.At("source"));
        File.WriteAllText(folder.At("source", "model.safetensors.index.json"),
            new System.Text.Json.Nodes.JsonObject { ["weight_map"] = new System.Text.Json.Nodes.JsonObject { ["model.norm.weight"] = name } }.ToJsonString());
        var refusal = Assert.Throws<ModelFormatException>(() => Export(folder.At("source"), folder.At("out.onnx")));
        Assert.Contains("model.norm.weight", refusal.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("\"model_type\": \"llama\"", "\"model_type\": \"gemma\"", "gemma")]
    [InlineData("\"hidden_act\": \"silu\"", "\"hidden_act\": \"gelu\"", "gelu")]
    [InlineData("\"rope_scaling\": null", "\"rope_scaling\": {\"rope_type\": \"yarn\", \"factor\": 4.0}", "yarn")]
    [InlineData("\"rope_scaling\": null", "\"rope_scaling\": {\"rope_type\": \"llama3\", \"factor\": 8.0}", "rope_scaling.low_freq_factor")]
    [InlineData("\"rope_scaling\": null", "\"rope_scaling\": {\"type\": \"linear\", \"factor\": -1}", "rope_scaling.factor")]
    [InlineData("\"rope_theta\": 10000.0", "\"rope_theta\": 0", "rope_theta")]
    [InlineData("\"attention_bias\": false", "\"attention_bias\": true", "self_attn.q_proj.bias")]
    [InlineData("\"attention_bias\": false", "\"attention_bias\": \"no\"", "attention_bias")]
    [InlineData("\"hidden_size\": 64", "\"hidden_size\": 96", "hidden_size")]
    [InlineData("\"num_hidden_layers\": 5", "\"num_hidden_layers\": 6", "model.layers.5.input_layernorm.weight")]
    [InlineData("\"num_hidden_layers\": 5", "\"num_hidden_layers\": 4", "model.layers.4")]
    [InlineData("\"num_hidden_layers\": 5", "\"num_hidden_layers\": 2000000000", "num_hidden_layers")]
    [InlineData("\"head_dim\": 8", "\"head_dim\": 7", "head_dim")]
    [InlineData("\"vocab_size\": 512", "\"vocab_size\": 512, \"quantization_config\": {}", "quantization_config")]
    [InlineData("\"vocab_size\": 512", "\"vocab_size\": 512, \"vocab_size\": 512", "config.json")]
    public void Configuration_ThatDoesNotFit_IsRefusedInWords(string from, string to, string named)
    {
        using var folder = new TemporaryFolder();
        ModelFolder.NanoLlama(folder.At("source"));
        var text = File.ReadAllText(Paths.Fixture("nano-llama", "config.json"));
        Assert.Contains(from, text, StringComparison.Ordinal);
        File.WriteAllText(folder.At("source", "config.json"), text.Replace(from, to, StringComparison.Ordinal));
        var refusal = Assert.ThrowsAny<Exception>(() => Export(folder.At("source"), folder.At("out.onnx")));
        Assert.True(refusal is ModelFormatException or UnsupportedGraphException, refusal.ToString());
        Assert.Contains(named, refusal.Message, StringComparison.Ordinal);
        Assert.False(File.Exists(folder.At("out.onnx")));
    }

    [Fact]
    public void Output_IsNotReplacedUnasked_NorEverTheSource()
    {
        using var folder = new TemporaryFolder();
        ModelFolder.NanoLlama(folder.At("source"));
        File.WriteAllText(folder.At("out.onnx"), "keep me");
        Assert.Throws<OutputExistsException>(() => Export(folder.At("source"), folder.At("out.onnx")));
        Assert.Equal("keep me", File.ReadAllText(folder.At("out.onnx")));
        var weights = File.ReadAllBytes(folder.At("source", "model.safetensors"));
        Assert.ThrowsAny<IOException>(() => ModelExporter.Export(new ExportOptions
        {
            Source = folder.At("source"),
            OutputPath = folder.At("source", "..", "source", "model.safetensors"),
            Force = true,
        }));
        Assert.Equal(weights, File.ReadAllBytes(folder.At("source", "model.safetensors")));
    }

    [Fact]
    public void FolderWithoutWeights_IsRefused_AndPicklesAreNotOpened()
    {
        using var folder = new TemporaryFolder();
        Directory.CreateDirectory(folder.At("source"));
        Assert.Contains("config.json", Assert.Throws<ModelFormatException>(() => Export(folder.At("source"), folder.At("out.onnx"))).Message, StringComparison.Ordinal);
        File.Copy(Paths.Fixture("nano-llama", "config.json"), folder.At("source", "config.json"));
        File.WriteAllText(folder.At("source", "pytorch_model.bin"), "");
        Assert.Contains("pickle", Assert.Throws<ModelFormatException>(() => Export(folder.At("source"), folder.At("out.onnx"))).Message, StringComparison.Ordinal);
    }

    private static TheoryData<string> Ids(string kind) => HostileCorpus.Load(kind) is { Count: > 0 } cases ? [.. cases.Select(c => c.Id)] : ["absent"];

    private static void ForEachVariant(string id, Action<HostileCase, string, string> check)
    {
        var hostile = HostileCorpus.Get(id);
        for (var variant = 0; variant < hostile.Variants; variant++)
        {
            using var folder = new TemporaryFolder();
            check(hostile, hostile.Materialize(folder.At("in"), variant), folder.At("out", "model.onnx"));
            if (!File.Exists(folder.At("out", "model.onnx")))
                Assert.False(Directory.Exists(folder.At("out")), "something was left behind");
        }
    }

    private static void Check(HostileCase hostile, string expect, string source, string output)
    {
        var refusal = Record.Exception(() => Export(source, output));
        Assert.True(refusal is null or ModelFormatException or UnsupportedGraphException or SafetensorsFormatException or IOException, refusal?.ToString());
        if (refusal is null)
            Assert.True(expect != "reject" && File.Exists(output), hostile.Wrong);
        else
            Assert.True(expect != "accept" && (hostile.IsNamedBy(refusal.Message) || refusal.Message.Contains(source, StringComparison.Ordinal)), refusal.Message);
    }

    private static void Export(string source, string output, ElementType type = ElementType.Float32) =>
        ModelExporter.Export(new ExportOptions { Source = source, OutputPath = output, WeightType = type });
}
