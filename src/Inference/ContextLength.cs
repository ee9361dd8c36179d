using System.Text.Json;

namespace SorsaOrt.Inference;

/// <summary>How many positions a model was made for, as the exporter's files beside it say.</summary>
internal static class ContextLength
{
    private const long MostBytes = 1 << 20;

    /// <summary>max_position_embeddings of config.json, or model.context_length of genai_config.json; null where neither is there or readable.</summary>
    public static int? Beside(string modelPath)
    {
        string folder = Path.GetDirectoryName(Path.GetFullPath(modelPath))!;
        return Read(Path.Combine(folder, "config.json"), "max_position_embeddings")
            ?? Read(Path.Combine(folder, "genai_config.json"), "model", "context_length");
    }

    private static int? Read(string path, params ReadOnlySpan<string> keys)
    {
        try
        {
            if (!File.Exists(path) || new FileInfo(path).Length > MostBytes)
                return null;
            using var json = JsonDocument.Parse(File.ReadAllBytes(path));
            var element = json.RootElement;
            foreach (string key in keys)
            {
                if (element.ValueKind != JsonValueKind.Object || !element.TryGetProperty(key, out element))
                    return null;
            }
            return element.ValueKind == JsonValueKind.Number && element.TryGetInt32(out int value) && value > 0 ? value : null;
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException or IOException or UnauthorizedAccessException)
        {
            return null;   // a hint only: the model itself decides
        }
    }
}
