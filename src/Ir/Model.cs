namespace SorsaOrt.Ir;

/// <summary>An ONNX model: a graph with its opsets and metadata. Owns the files that its tensors are mapped from.</summary>
public sealed class Model : IDisposable
{
    private readonly List<MappedFile> _files = [];

    /// <summary>A model around a graph.</summary>
    public Model(Graph graph) => Graph = graph;

    /// <summary>The main graph.</summary>
    public Graph Graph { get; }

    /// <summary>Version of the file format.</summary>
    public long IrVersion { get; set; } = 10;

    /// <summary>Imported operator sets: domain ("" is the standard one) and version, in file order.</summary>
    public OrderedDictionary<string, long> Opsets { get; } = new(StringComparer.Ordinal);

    /// <summary>Version of the standard operator set.</summary>
    public long Opset => Opsets.TryGetValue("", out var v) ? v : 0;

    /// <summary>Program that wrote the file.</summary>
    public string ProducerName { get; set; } = "";

    /// <summary>Its version.</summary>
    public string ProducerVersion { get; set; } = "";

    /// <summary>Domain of the model.</summary>
    public string Domain { get; set; } = "";

    /// <summary>Version of the model.</summary>
    public long ModelVersion { get; set; }

    /// <summary>Documentation string.</summary>
    public string DocString { get; set; } = "";

    /// <summary>Metadata properties.</summary>
    public IList<KeyValuePair<string, string>> Metadata { get; } = [];

    /// <summary>Names (<c>domain::name</c>) of the model-local functions the file defines.</summary>
    public IReadOnlyList<string> FunctionNames { get; set; } = [];

    /// <summary>Parts of the file's model that the product does not interpret (functions, training info, device configurations), kept for writing.</summary>
    public byte[]? Uninterpreted { get; set; }

    /// <summary>Where each initializer that the file keeps in an external data file lies, by name.</summary>
    public OrderedDictionary<string, ExternalLocation> ExternalLocations { get; } = new(StringComparer.Ordinal);

    /// <summary>The tensors that were read from external data, by the name of their initializer.</summary>
    internal Dictionary<string, Tensor> ExternalTensors { get; } = new(StringComparer.Ordinal);

    /// <summary>Keeps <paramref name="file"/> open until the model is disposed.</summary>
    public void Own(MappedFile file) => _files.Add(file);

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (var file in _files)
            file.Dispose();
        _files.Clear();
    }
}

/// <summary>An entry of <c>TensorProto.external_data</c>.</summary>
/// <param name="Location">Path of the data file, relative to the model's folder, with forward slashes.</param>
/// <param name="Offset">First byte in that file; null where the file leaves it out (0).</param>
/// <param name="Length">Bytes; null where the file leaves it out (as many as the shape asks for).</param>
/// <param name="Others">Other keys, such as <c>checksum</c>, as they stand.</param>
public sealed record ExternalLocation(string Location, long? Offset, long? Length, IReadOnlyList<KeyValuePair<string, string>> Others);
