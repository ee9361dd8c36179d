using SorsaOrt.Artifacts;
using SorsaOrt.Ir;

namespace SorsaOrt.Merge;

/// <summary>External data as the user's model had it: the same offsets and lengths, and the same file names where they are free (<see cref="DataFileNames"/>).</summary>
/// <remarks>
/// A weight that changed its type lies in the file of the one it stands for, and that file is laid out anew. Those of a model without
/// external data stay inside it, unless it would grow beyond what a model file holds: then they lie in a file of their own.
/// </remarks>
internal sealed class SourceLayout
{
    /// <summary>Most bytes of tensors inside a model file: protobuf's 2 GiB without room for the graph.</summary>
    public const long MostInside = int.MaxValue - (128L << 20);

    private const int Alignment = 4096;

    private readonly Dictionary<Value, ExternalLocation> _places = [];
    private readonly IReadOnlyDictionary<string, string> _names;

    public SourceLayout(ArtifactSet artifacts, Graph graph, string outputPath, bool force, long mostInside = MostInside)
    {
        var stored = artifacts.Manifest.ExternalTensors.ToDictionary(t => t.Name, StringComparer.Ordinal);
        var outside = graph.Initializers.Where(v => stored.ContainsKey(v.StoredName)).ToLookup(v => stored[v.StoredName].Location, StringComparer.Ordinal);
        var inside = graph.Initializers.Where(v => !stored.ContainsKey(v.StoredName)).ToList();
        List<Value> grown = inside.Sum(v => v.Constant!.ByteLength) > mostInside ? [.. inside.Where(v => v.StoredAs is not null)] : [];
        var own = Path.GetFileName(outputPath) + ".data";
        _names = DataFileNames.Choose(artifacts, grown.Count > 0 ? [.. outside.Select(f => f.Key), own] : outside.Select(f => f.Key), outputPath, force);
        foreach (var file in outside)
            Place([.. file.Select(v => new Stored(v, stored[v.StoredName])).OrderBy(s => s.Source.Offset ?? 0).ThenBy(s => s.IsSame ? 0 : 1)]);
        PlaceAnew(grown.Select(v => (v, new ExternalLocation(_names[own], null, null, []))), Alignment);
    }

    /// <summary>Where an initializer lies, or null for inside the model. A checksum of a file that changed is left out.</summary>
    public ExternalLocation? Place(Value value) => _places.GetValueOrDefault(value);

    /// <summary>Writes every data file, front to back; weights that are computed are begun <paramref name="threads"/> at a time, the one being written among them.</summary>
    public void WriteData(StagedFiles files, int threads)
    {
        foreach (var file in _places.GroupBy(p => p.Value.Location, StringComparer.Ordinal))
        {
            using var stream = files.Create(file.Key);
            var (end, begun) = (0L, 0);
            var tensors = file.OrderBy(p => p.Value.Offset ?? 0).Select(p => (p.Key.Name, Offset: p.Value.Offset ?? 0, Tensor: p.Key.Constant!)).ToList();
            var computed = new Queue<ComputedTensor>(tensors.Select(t => t.Tensor).OfType<ComputedTensor>());
            foreach (var (name, start, tensor) in tensors)
            {
                for (; begun < threads && computed.TryDequeue(out var next); begun++)
                    next.Begin();
                if (start < end)
                    throw new UnsupportedGraphException($"'{name}' shares bytes of {file.Key} with another tensor; that cannot be merged yet");
                for (; end < start; end++)
                    stream.WriteByte(0);
                tensor.WriteTo(stream);
                end += tensor.ByteLength;
                begun -= tensor is ComputedTensor ? 1 : 0;
            }
            stream.Complete();
        }
    }

    // The tensors of one file, in its order.
    private void Place(List<Stored> file)
    {
        var changed = file.Exists(s => s.Value.Constant is ComputedTensor);
        ExternalLocation At(Stored s) => new(_names[s.Source.Location], s.Source.Offset, s.Source.Length,
            [.. (s.Source.Others ?? new Dictionary<string, string>()).Where(o => o.Key != "checksum" || !changed)]);
        if (file.TrueForAll(s => s.IsSame))
        {
            foreach (var s in file)
                _places[s.Value] = At(s);
            return;
        }
        var alignment = 16;
        while (alignment < Alignment && file.TrueForAll(s => (s.Source.Offset ?? 0) % (2 * alignment) == 0))
            alignment *= 2;
        PlaceAnew(file.Select(s => (s.Value, At(s))), alignment);
    }

    // One behind the other.
    private void PlaceAnew(IEnumerable<(Value Value, ExternalLocation Location)> file, int alignment)
    {
        var end = 0L;
        foreach (var (value, location) in file)
        {
            var start = (end + alignment - 1) / alignment * alignment;
            _places[value] = location with { Offset = start, Length = value.Constant!.ByteLength };
            end = start + value.Constant.ByteLength;
        }
    }

    private sealed record Stored(Value Value, ExternalTensorPlace Source)
    {
        // Whether it is the tensor itself, and not one that stands for it.
        public bool IsSame => Value.Name == Source.Name;
    }
}
