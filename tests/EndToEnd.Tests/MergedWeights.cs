using System.Text.Json;
using SorsaOrt.Ir.Serialization;
using SorsaOrt.TestSupport;

namespace SorsaOrt.EndToEnd.Tests;

/// <summary>Target weights of a nano-llama model by module, [out, in]; the names come from the export's answer key, not from our code.</summary>
internal static class MergedWeights
{
    public static IReadOnlyDictionary<string, float[]> Read(string path)
    {
        using var key = JsonDocument.Parse(File.ReadAllBytes(Paths.Fixture("nano-llama", "io.json")));
        using var model = OnnxReader.Read(path);
        var weights = new Dictionary<string, float[]>(StringComparer.Ordinal);
        foreach (var linear in key.RootElement.GetProperty("linears").EnumerateArray())
        {
            var tensor = model.Graph.FindInitializer(linear.GetProperty("weight").GetString()!)!.Constant!;
            var stored = tensor.ToArray<float>();
            var (rows, columns) = ((int)tensor.Shape[0], (int)tensor.Shape[1]);
            var transposed = new float[stored.Length];
            for (var r = 0; r < rows; r++)
            {
                for (var c = 0; c < columns; c++)
                    transposed[c * rows + r] = stored[r * columns + c];
            }
            weights[linear.GetProperty("module").GetString() + ".weight"] = transposed;
        }
        return weights;
    }
}
