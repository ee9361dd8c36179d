using System.Buffers;
using System.Text.Json;
using SorsaOrt.Adapters;
using SorsaOrt.Artifacts;

namespace SorsaOrt.Merge.LoraDelta;

/// <summary>The two files of an adapter as Hugging Face PEFT saves and loads them (<c>LoraConfig</c>, <c>save_pretrained</c>).</summary>
/// <remarks>W + lora_B·lora_A: the scale lora_alpha/r is 1. Singular values are shared out between both as √S, so that neither is large when it is rounded.</remarks>
internal static class PeftFiles
{
    public const string Config = "adapter_config.json";
    public const string Weights = "adapter_model.safetensors";

    private const string Prefix = "base_model.model.";

    public static void WriteWeights(Stream stream, IReadOnlyList<TargetWeight> targets, TargetDeltas deltas)
    {
        SafetensorsDeclaration Declare(string name, params long[] shape) => new(name, SafetensorsType.F32, shape);
        var writer = new SafetensorsWriter(stream, [.. targets.SelectMany(t => new[] { Declare(A(t), deltas.RankOf(t), t.In), Declare(B(t), t.Out, deltas.RankOf(t)) })],
            new Dictionary<string, string> { ["format"] = "pt" });
        foreach (var target in targets)
        {
            var halves = LoraFactors.Pissa(deltas.Of(target), 1);
            writer.Write(A(target), halves.A);
            writer.Write(B(target), halves.B);
        }
        writer.Complete();
    }

    public static ReadOnlySpan<byte> ConfigOf(Manifest manifest, TargetDeltas deltas)
    {
        var rank = manifest.Targets.Max(deltas.RankOf);
        var narrower = manifest.Targets.Where(t => deltas.RankOf(t) < rank).ToList();
        var buffer = new ArrayBufferWriter<byte>();
        using var json = new Utf8JsonWriter(buffer, new JsonWriterOptions { Indented = true });
        json.WriteStartObject();
        json.WriteString("peft_type", "LORA");
        json.WriteString("task_type", "CAUSAL_LM");
        json.WriteNull("base_model_name_or_path");
        json.WriteBoolean("inference_mode", true);
        json.WriteNumber("r", rank);
        json.WriteNumber("lora_alpha", rank);
        json.WriteNumber("lora_dropout", 0.0);
        json.WriteString("bias", "none");
        json.WriteBoolean("fan_in_fan_out", false);
        json.WriteBoolean("init_lora_weights", true);
        json.WriteBoolean("use_rslora", false);
        json.WriteBoolean("use_dora", false);
        json.WriteNull("modules_to_save");
        json.WriteStartArray("target_modules");
        foreach (var module in TargetModules(manifest))
            json.WriteStringValue(module);
        json.WriteEndArray();
        foreach (var pattern in new[] { "rank_pattern", "alpha_pattern" })
        {
            json.WriteStartObject(pattern);
            foreach (var target in narrower)
                json.WriteNumber(target.Module, deltas.RankOf(target));
            json.WriteEndObject();
        }
        json.WriteEndObject();
        json.Flush();
        return buffer.WrittenSpan;
    }

    // Roles where every layer has them, as PEFT users write it; otherwise the modules one by one.
    private static IEnumerable<string> TargetModules(Manifest manifest)
    {
        var byRole = manifest.Targets.GroupBy(t => t.Role, StringComparer.Ordinal).ToList();
        return byRole.All(g => g.Count() == manifest.Layers) ? byRole.Select(g => g.Key) : manifest.Targets.Select(t => t.Module);
    }

    private static string A(TargetWeight target) => $"{Prefix}{target.Module}.lora_A.weight";

    private static string B(TargetWeight target) => $"{Prefix}{target.Module}.lora_B.weight";
}
