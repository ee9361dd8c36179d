using System.Buffers.Binary;
using System.Runtime.InteropServices;
using System.Text.Json;

namespace SorsaOrt.Adapters.Tests;

/// <summary>The F32 tensors of a small safetensors file, read whole.</summary>
internal sealed class SafetensorsFile
{
    private readonly Dictionary<string, (int[] Shape, float[] Values)> _tensors = [];

    public SafetensorsFile(string path)
    {
        var bytes = File.ReadAllBytes(path);
        var header = checked((int)BinaryPrimitives.ReadUInt64LittleEndian(bytes));
        using var json = JsonDocument.Parse(bytes.AsMemory(8, header));
        foreach (var entry in json.RootElement.EnumerateObject().Where(e => e.Name != "__metadata__"))
        {
            Assert.Equal("F32", entry.Value.GetProperty("dtype").GetString());
            var offsets = entry.Value.GetProperty("data_offsets").EnumerateArray().Select(o => o.GetInt32()).ToArray();
            var shape = entry.Value.GetProperty("shape").EnumerateArray().Select(d => d.GetInt32()).ToArray();
            var values = MemoryMarshal.Cast<byte, float>(bytes.AsSpan((8 + header + offsets[0])..(8 + header + offsets[1]))).ToArray();
            _tensors.Add(entry.Name, (shape, values));
        }
    }

    public IEnumerable<string> Names => _tensors.Keys;

    public float[] this[string name] => _tensors[name].Values;

    public int[] Shape(string name) => _tensors[name].Shape;

    /// <summary>The adapter whose tensors are NAME.A, NAME.S (ones where absent) and NAME.B.</summary>
    public SorsaFactors Factors(string name)
    {
        var (rank, inFeatures) = (Shape(name + ".A")[0], Shape(name + ".A")[1]);
        return new SorsaFactors(rank, Shape(name + ".B")[0], inFeatures, this[name + ".A"], this[name + ".S"], this[name + ".B"]);
    }

    public IEnumerable<string> Adapters => Names.Where(n => n.EndsWith(".A", StringComparison.Ordinal)).Select(n => n[..^2]);
}
