using System.Runtime.InteropServices;
using System.Text.Json.Nodes;
using SorsaOrt.Artifacts;
using SorsaOrt.GraphBuilder;
using SorsaOrt.Ir.Serialization;
using SorsaOrt.TestSupport;

namespace SorsaOrt.Export.Tests;

/// <summary>A weight as Hugging Face has it.</summary>
internal sealed record Weight(string Name, long[] Shape, float[] Values)
{
    public double At(long row, long column) => Values[(row * Shape[^1]) + column];
}

/// <summary>Writes Hugging Face folders.</summary>
internal static class ModelFolder
{
    /// <summary>config.json and the weights, in one file or several, each tensor in the type that <paramref name="type"/> gives for its number.</summary>
    public static void Write(string folder, JsonObject config, IReadOnlyList<Weight> weights, int shards = 1, Func<int, SafetensorsType>? type = null)
    {
        Directory.CreateDirectory(folder);
        File.WriteAllText(Path.Combine(folder, "config.json"), config.ToJsonString());
        var map = new JsonObject();
        foreach (var (number, part) in weights.Index().GroupBy(w => w.Index % shards).Index())
        {
            var name = shards == 1 ? "model.safetensors" : $"model-{number + 1:00000}-of-{shards:00000}.safetensors";
            WriteSafetensors(Path.Combine(folder, name), [.. part.Select(p => (p.Item, type?.Invoke(p.Index) ?? SafetensorsType.F32))]);
            foreach (var (_, weight) in part)
                map[weight.Name] = name;
        }
        if (shards > 1)
            File.WriteAllText(Path.Combine(folder, "model.safetensors.index.json"), new JsonObject { ["metadata"] = new JsonObject(), ["weight_map"] = map }.ToJsonString());
    }

    /// <summary>The folder of nano-llama: its weights out of the optimum export in the repository.</summary>
    public static string NanoLlama(string folder)
    {
        using var model = OnnxReader.Read(Paths.Fixture("nano-llama", "optimum-no-past.onnx"));
        var weights = new List<Weight>();
        foreach (var value in model.Graph.Initializers.Where(v => v.Name.StartsWith("model.", StringComparison.Ordinal)))
            weights.Add(new Weight(value.Name, [.. value.Constant!.Shape], value.Constant.ToArray<float>()));
        foreach (var site in PreparedModel.From(model).Sites.Where(s => s.Role != "lm_head"))
            weights.Add(new Weight(site.Module + ".weight", [site.Out, site.In], Turned(site.Weight.Constant!.ToArray<float>(), site.In, site.Out)));
        Write(folder, JsonNode.Parse(File.ReadAllText(Paths.Fixture("nano-llama", "config.json")))!.AsObject(), weights);
        return folder;
    }

    /// <summary>The [columns, rows] transpose.</summary>
    public static float[] Turned(float[] values, int rows, int columns) =>
        [.. Enumerable.Range(0, values.Length).Select(i => values[(i % rows * columns) + (i / rows)])];

    private static void WriteSafetensors(string path, IReadOnlyList<(Weight Weight, SafetensorsType Type)> weights)
    {
        using var stream = File.Create(path);
        var writer = new SafetensorsWriter(stream, [.. weights.Select(w => new SafetensorsDeclaration(w.Weight.Name, w.Type, w.Weight.Shape))]);
        foreach (var (weight, type) in weights)
            writer.Write(weight.Name, Encoded(weight.Values, type));
        writer.Complete();
    }

    private static byte[] Encoded(float[] values, SafetensorsType type) => type switch
    {
        SafetensorsType.F16 => MemoryMarshal.AsBytes(Array.ConvertAll(values, v => (Half)v).AsSpan()).ToArray(),
        SafetensorsType.BF16 => MemoryMarshal.AsBytes(Array.ConvertAll(values, v => (ushort)(BitConverter.SingleToUInt32Bits(v) >> 16)).AsSpan()).ToArray(),
        _ => MemoryMarshal.AsBytes(values.AsSpan()).ToArray(),
    };
}
