using SorsaOrt.Artifacts;

namespace SorsaOrt.GraphBuilder;

/// <summary>Safetensors files with starting factors: MODULE.A [r, in], MODULE.S [r], MODULE.B [out, r], and MODULE.Wr [out, in].</summary>
internal sealed class FactorFiles : IDisposable
{
    private readonly List<SafetensorsReader> _files = [];
    private readonly Dictionary<string, SafetensorsReader> _byName = new(StringComparer.Ordinal);
    private readonly HashSet<string> _used = new(StringComparer.Ordinal);

    public FactorFiles(IReadOnlyList<string> paths)
    {
        try
        {
            foreach (var path in paths)
            {
                var file = SafetensorsReader.Open(path);
                _files.Add(file);
                foreach (var tensor in file.Tensors)
                {
                    if (!_byName.TryAdd(tensor.Name, file))
                        throw new TargetException($"--factors: '{tensor.Name}' stands in both {_byName[tensor.Name].Path} and {path}.");
                }
            }
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    /// <summary>Whether any file was given.</summary>
    public bool Any => _files.Count > 0;

    /// <summary>Whether the tensor is there.</summary>
    public bool Has(string name) => _byName.ContainsKey(name);

    /// <summary>The tensor as 32-bit floats, refused when missing, of another shape, or not finite.</summary>
    public float[] Read(string name, params long[] shape)
    {
        if (!_byName.TryGetValue(name, out var file))
            throw new TargetException($"--factors: '{name}' is in none of {string.Join(", ", _files.Select(f => f.Path))}; "
                + "every target needs its factors, or leave --factors out to decompose.");
        var tensor = file[name];
        if (!tensor.Shape.SequenceEqual(shape))
            throw new TargetException($"--factors: '{name}' in {file.Path} is [{string.Join(",", tensor.Shape)}], "
                + $"[{string.Join(",", shape)}] is needed (check --rank).");
        lock (_used) // targets are read in parallel
            _used.Add(name);
        var values = file.ReadFloats(name);
        if (Array.FindIndex(values, v => !float.IsFinite(v)) is >= 0 and var at)
            throw new TargetException($"--factors: '{name}' in {file.Path} holds {values[at]} at element {at}.");
        return values;
    }

    /// <summary>Refuses tensors that no target took: a misspelt module must not be ignored in silence.</summary>
    public void RefuseUnused()
    {
        var unused = _byName.Keys.Where(n => !_used.Contains(n)).Order(StringComparer.Ordinal).ToList();
        if (unused.Count > 0)
            throw new TargetException($"--factors: {unused.Count} tensors belong to no target: {string.Join(", ", unused.Take(5))}{(unused.Count > 5 ? ", …" : "")}.");
    }

    public void Dispose()
    {
        foreach (var file in _files)
            file.Dispose();
    }
}
