using Microsoft.ML.OnnxRuntime;
using SorsaOrt.Ir;
using SorsaOrt.TestSupport;

namespace SorsaOrt.Export.Tests;

/// <summary>An exported model run with ONNX Runtime, as a whole or in steps over its cache.</summary>
internal sealed class ExportedModel : IDisposable
{
    private readonly InferenceSession _session;
    private readonly Dictionary<string, OrtTensor> _past = [];

    public ExportedModel(string path, bool optimize = true)
    {
        using var options = OrtRun.Options(optimize);
        _session = new InferenceSession(path, options);
    }

    /// <summary>Exports <paramref name="source"/> and opens the result.</summary>
    public static ExportedModel Of(string source, TemporaryFolder folder, bool cache = false, ElementType type = ElementType.Float32)
    {
        var path = folder.At("exported", "model.onnx");
        ModelExporter.Export(new ExportOptions { Source = source, OutputPath = path, KeyValueCache = cache, WeightType = type, Force = true });
        return new ExportedModel(path);
    }

    public IReadOnlyCollection<string> Inputs => [.. _session.InputMetadata.Keys];

    /// <summary>Logits [batch, new, vocabulary] of rows of new tokens; with a cache they follow those of earlier calls.</summary>
    /// <param name="ids">[batch, new].</param>
    /// <param name="mask">[batch, all so far]; null: all ones.</param>
    /// <param name="positions">[batch, new]; null: counted on.</param>
    public float[] Logits(long[][] ids, long[][]? mask = null, long[][]? positions = null)
    {
        var (rows, width) = (ids.Length, ids[0].Length);
        var before = _past.Count > 0 ? _past.Values.First().Shape[2] : 0;
        mask ??= [.. ids.Select(_ => Enumerable.Repeat(1L, (int)before + width).ToArray())];
        positions ??= [.. ids.Select(_ => Enumerable.Range((int)before, width).Select(i => (long)i).ToArray())];
        var feeds = new Dictionary<string, OrtTensor> { ["input_ids"] = Tensor(ids), ["attention_mask"] = Tensor(mask), ["position_ids"] = Tensor(positions) };
        foreach (var (name, meta) in _session.InputMetadata.Where(i => i.Key.StartsWith("past", StringComparison.Ordinal)))
            feeds[name] = _past.GetValueOrDefault(name) ?? new OrtTensor(ElementType.Float32, [rows, meta.Dimensions[1], 0, meta.Dimensions[3]], Array.Empty<float>());
        var results = OrtRun.Run(_session, feeds);
        foreach (var (name, value) in results.Where(r => r.Key.StartsWith("present", StringComparison.Ordinal)))
            _past[name.Replace("present", "past_key_values", StringComparison.Ordinal)] = value;
        Assert.Equal(rows * width, results["logits"].Shape[0] * results["logits"].Shape[1]);
        return results["logits"].As<float>();
    }

    public void Dispose() => _session.Dispose();

    private static OrtTensor Tensor(long[][] rows) => OrtTensor.Of([.. rows.SelectMany(r => r)], rows.Length, rows[0].Length);
}
