using SorsaOrt.Artifacts;
using SorsaOrt.Ir;

namespace SorsaOrt.Merge;

/// <summary>External data as the user's model had it: the same files, offsets and lengths.</summary>
internal sealed class SourceLayout
{
    private readonly Dictionary<string, ExternalTensorPlace> _places;
    private readonly Graph _graph;
    private readonly HashSet<string> _changed;

    public SourceLayout(Manifest manifest, Graph graph)
    {
        _graph = graph;
        var targets = manifest.Targets.Select(t => t.WeightName).ToHashSet(StringComparer.Ordinal);
        _places = manifest.ExternalTensors.Where(t => graph.FindInitializer(t.Name) is not null).ToDictionary(t => t.Name, StringComparer.Ordinal);
        _changed = _places.Values.Where(p => targets.Contains(p.Name)).Select(p => p.Location).ToHashSet(StringComparer.Ordinal);
    }

    /// <summary>Where an initializer lies, or null for inside the model. A checksum of a file that changed is left out.</summary>
    public ExternalLocation? Place(Value value) => !_places.TryGetValue(value.Name, out var place) ? null
        : new ExternalLocation(place.Location, place.Offset, place.Length,
            [.. (place.Others ?? new Dictionary<string, string>()).Where(o => o.Key != "checksum" || !_changed.Contains(place.Location))]);

    /// <summary>Writes every data file, front to back.</summary>
    public void WriteData(StagedFiles files)
    {
        foreach (var file in _places.Values.GroupBy(p => p.Location, StringComparer.Ordinal))
        {
            using var stream = files.Create(file.Key);
            var end = 0L;
            foreach (var place in file.OrderBy(p => p.Offset ?? 0))
            {
                var tensor = _graph.FindInitializer(place.Name)!.Constant!;
                var start = place.Offset ?? 0;
                if (start < end)
                    throw new UnsupportedGraphException($"'{place.Name}' shares bytes of {place.Location} with another tensor; that cannot be merged yet");
                for (; end < start; end++)
                    stream.WriteByte(0);
                tensor.WriteTo(stream);
                end += tensor.ByteLength;
            }
            stream.Complete();
        }
    }
}
