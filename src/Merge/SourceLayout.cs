using SorsaOrt.Artifacts;
using SorsaOrt.Ir;

namespace SorsaOrt.Merge;

/// <summary>External data as the user's model had it: the same offsets and lengths, and the same file names where they are free (<see cref="DataFileNames"/>).</summary>
internal sealed class SourceLayout
{
    private readonly Dictionary<string, ExternalTensorPlace> _places;
    private readonly Graph _graph;
    private readonly HashSet<string> _changed;
    private readonly IReadOnlyDictionary<string, string> _names;

    public SourceLayout(ArtifactSet artifacts, Graph graph, string outputPath, bool force)
    {
        var manifest = artifacts.Manifest;
        _graph = graph;
        _places = manifest.ExternalTensors.Where(t => graph.FindInitializer(t.Name) is not null).ToDictionary(t => t.Name, StringComparer.Ordinal);
        _changed = manifest.ExternalTensors.Where(t => graph.FindInitializer(t.Name)?.Constant is null or ComputedTensor).Select(t => t.Location).ToHashSet(StringComparer.Ordinal);
        _names = DataFileNames.Choose(artifacts, _places.Values.Select(p => p.Location), outputPath, force);
    }

    /// <summary>The data files written, by their names in the user's model.</summary>
    public IReadOnlyDictionary<string, string> Names => _names;

    /// <summary>Where an initializer lies, or null for inside the model. A checksum of a file that changed is left out.</summary>
    public ExternalLocation? Place(Value value) => !_places.TryGetValue(value.Name, out var place) ? null
        : new ExternalLocation(_names[place.Location], place.Offset, place.Length,
            [.. (place.Others ?? new Dictionary<string, string>()).Where(o => o.Key != "checksum" || !_changed.Contains(place.Location))]);

    /// <summary>Writes every data file, front to back; weights that are computed are begun <paramref name="threads"/> at a time, the one being written among them.</summary>
    public void WriteData(StagedFiles files, int threads)
    {
        foreach (var file in _places.Values.GroupBy(p => p.Location, StringComparer.Ordinal))
        {
            using var stream = files.Create(_names[file.Key]);
            var (end, begun) = (0L, 0);
            var tensors = file.OrderBy(p => p.Offset ?? 0).Select(p => (Place: p, Tensor: _graph.FindInitializer(p.Name)!.Constant!)).ToList();
            var computed = new Queue<ComputedTensor>(tensors.Select(t => t.Tensor).OfType<ComputedTensor>());
            foreach (var (place, tensor) in tensors)
            {
                for (; begun < threads && computed.TryDequeue(out var next); begun++)
                    next.Begin();
                var start = place.Offset ?? 0;
                if (start < end)
                    throw new UnsupportedGraphException($"'{place.Name}' shares bytes of {place.Location} with another tensor; that cannot be merged yet");
                for (; end < start; end++)
                    stream.WriteByte(0);
                tensor.WriteTo(stream);
                end += tensor.ByteLength;
                begun -= tensor is ComputedTensor ? 1 : 0;
            }
            stream.Complete();
        }
    }
}
