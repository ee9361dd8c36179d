using System.Runtime.InteropServices;
using System.Text.Json;
using SorsaOrt.Engines;
using SorsaOrt.TestSupport;

namespace SorsaOrt.Inference.Tests;

/// <summary>The two sequences whose logits PyTorch computed, 13 and 8 tokens, and those logits.</summary>
internal sealed class GoldenInputs
{
    private readonly long[] _ids;
    private readonly long[] _mask;

    public GoldenInputs(string inputsPath)
    {
        using var json = JsonDocument.Parse(File.ReadAllBytes(inputsPath));
        long[] Read(string name) => [.. json.RootElement.GetProperty(name).EnumerateArray().SelectMany(row => row.EnumerateArray().Select(v => v.GetInt64()))];
        (_ids, _mask) = (Read("input_ids"), Read("attention_mask"));
        Width = json.RootElement.GetProperty("input_ids")[0].GetArrayLength();
        Places = [.. Enumerable.Range(0, _mask.Length).Where(i => _mask[i] == 1).Select(i => (long)i)];
    }

    public int Width { get; }

    /// <summary>Places that are no padding.</summary>
    public long[] Places { get; }

    public TokenBatch Batch => new() { BatchSize = _ids.Length / Width, SequenceLength = Width, InputIds = _ids, AttentionMask = _mask, LabelPositions = Places };

    /// <summary>The tokens of a row without padding.</summary>
    public int[] Row(int row) => [.. Enumerable.Range(row * Width, Width).Where(i => _mask[i] == 1).Select(i => (int)_ids[i])];

    public static float[] ReadFloats(string path) => MemoryMarshal.Cast<byte, float>(File.ReadAllBytes(path)).ToArray();

    /// <summary>Folders of the exports below shared/exports, relative; none where it is absent.</summary>
    public static IEnumerable<string> Exports() => Paths.SharedOrNull is null ? []
        : Directory.GetFiles(Paths.Shared("exports"), "model.onnx", SearchOption.AllDirectories)
            .Select(p => Path.GetRelativePath(Paths.Shared("exports"), Path.GetDirectoryName(p)!)).Order(StringComparer.Ordinal);

    public static float MaxDifference(ReadOnlySpan<float> a, ReadOnlySpan<float> b)
    {
        Assert.Equal(a.Length, b.Length);
        float most = 0;
        for (int i = 0; i < a.Length; i++)
        {
            float difference = MathF.Abs(a[i] - b[i]);
            most = difference > most || float.IsNaN(difference) ? difference : most;
        }
        return most;
    }
}
