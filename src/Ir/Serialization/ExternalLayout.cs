namespace SorsaOrt.Ir.Serialization;

/// <summary>Which initializers lie in external data files, and where; writes those files.</summary>
/// <remarks>Pass <see cref="Place"/> to <see cref="OnnxWriter.Write(Model, Stream, Func{Value, ExternalLocation})"/>, and write the data before or after.</remarks>
public sealed class ExternalLayout
{
    private readonly Dictionary<Value, ExternalLocation> _places = [];

    private ExternalLayout() { }

    /// <summary>Where the initializer lies, or null for inside the model file.</summary>
    public ExternalLocation? Place(Value initializer) => _places.GetValueOrDefault(initializer);

    /// <summary>Locations of the data files, in order of first use.</summary>
    public IEnumerable<string> Locations => _places.Values.Select(p => Plain(p.Location)).Distinct(StringComparer.Ordinal);

    /// <summary>As the source stored it: what was external stays so, at the same offsets as long as all sizes of a file are unchanged.</summary>
    /// <remarks>
    /// Initializers that shared bytes share them still while both are unchanged; a changed one gets bytes of its own, and the file
    /// is laid out anew. A <c>checksum</c> is kept only where the file's data is unchanged.
    /// </remarks>
    public static ExternalLayout AsStored(Model model)
    {
        var layout = new ExternalLayout();
        var stored = model.Graph.Initializers
            .Where(v => model.ExternalLocations.ContainsKey(v.Name) && model.ExternalTensors.ContainsKey(v.Name))
            .Select(v => new Stored(v, model.ExternalLocations[v.Name], model.ExternalTensors[v.Name]));
        foreach (var file in stored.GroupBy(s => Plain(s.Location.Location), StringComparer.Ordinal))
            layout.AddFile([.. file.OrderBy(s => s.Offset)]);
        return layout;
    }

    /// <summary>All initializers of at least <paramref name="minimumBytes"/> in one file, in order of the graph.</summary>
    public static ExternalLayout InOneFile(Model model, string location, long minimumBytes = 1024, int alignment = 4096)
    {
        var layout = new ExternalLayout();
        var end = 0L;
        foreach (var value in model.Graph.Initializers.Where(v => v.Constant is not StringTensor && v.Constant!.ByteLength >= minimumBytes))
        {
            var start = Align(end, alignment);
            layout._places[value] = new ExternalLocation(location, start, value.Constant!.ByteLength, []);
            end = start + value.Constant.ByteLength;
        }
        return layout;
    }

    /// <summary>Writes every data file front to back; gaps are filled with zeros. The streams are closed.</summary>
    /// <remarks>Never open the file that the model is mapped from: write beside it and rename.</remarks>
    /// <param name="open">Opens the file of a location for writing; <see cref="ExternalPath.ForWriting"/> makes the path.</param>
    public void WriteData(Func<string, Stream> open)
    {
        foreach (var file in _places.GroupBy(p => Plain(p.Value.Location), StringComparer.Ordinal))
        {
            using var stream = open(file.Key);
            var end = 0L;
            foreach (var (value, place) in file.OrderBy(p => p.Value.Offset ?? 0).ThenBy(p => p.Key.Constant!.ByteLength))
            {
                var (tensor, start) = (value.Constant!, place.Offset ?? 0);
                WriteZeros(stream, start - end);
                // Bytes below the end are there already, from an initializer that shares them.
                tensor.WriteTo(stream, Math.Min(tensor.ByteLength, Math.Max(0, end - start)));
                end = Math.Max(end, start + tensor.ByteLength);
            }
        }
    }

    private void AddFile(List<Stored> file)
    {
        var unchanged = file.TrueForAll(s => s.IsUnchanged);
        var inPlace = unchanged || file.TrueForAll(s => s.Value.Constant!.ByteLength == s.Source.ByteLength) && !SharesChangedBytes(file);
        var alignment = 1;
        while (alignment < 1 << 16 && file.TrueForAll(s => s.Offset % (alignment * 2) == 0))
            alignment *= 2;
        var (end, previous) = (0L, (Stored?)null);
        foreach (var s in file)
        {
            var others = unchanged ? s.Location.Others : [.. s.Location.Others.Where(o => o.Key != "checksum")];
            if (inPlace)
            {
                _places[s.Value] = s.Location with { Others = others };
                continue;
            }
            var shared = previous is { IsUnchanged: true } && s.IsUnchanged && s.Offset == previous.Offset && s.Source.ByteLength == previous.Source.ByteLength;
            var start = shared ? _places[previous!.Value].Offset!.Value : Align(end, Math.Max(alignment, 16));
            _places[s.Value] = s.Location with { Offset = start, Length = s.Value.Constant!.ByteLength, Others = others };
            end = Math.Max(end, start + s.Value.Constant.ByteLength);
            previous = s;
        }
    }

    private static bool SharesChangedBytes(List<Stored> file)
    {
        Stored? furthest = null;
        foreach (var s in file)
        {
            if (furthest is not null && s.Offset < furthest.End && !(s.IsUnchanged && furthest.IsUnchanged))
                return true;
            furthest = furthest is null || s.End > furthest.End ? s : furthest;
        }
        return false;
    }

    private static void WriteZeros(Stream stream, long count)
    {
        var zeros = new byte[(int)Math.Clamp(count, 0, 1 << 16)];
        for (; count > 0; count -= Math.Min(count, zeros.Length))
            stream.Write(zeros, 0, (int)Math.Min(count, zeros.Length));
    }

    private static long Align(long offset, int alignment) => (offset + alignment - 1) / alignment * alignment;

    // "./weights.bin" and "weights.bin" are one file.
    private static string Plain(string location) => string.Join('/', location.Split('/').Where(part => part != "."));

    private sealed record Stored(Value Value, ExternalLocation Location, Tensor Source)
    {
        public long Offset => Location.Offset ?? 0;

        public long End => Offset + Source.ByteLength;

        public bool IsUnchanged => ReferenceEquals(Value.Constant, Source);
    }
}
