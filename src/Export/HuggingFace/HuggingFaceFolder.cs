using System.Text.Json;
using SorsaOrt.Artifacts;
using SorsaOrt.Ir;

namespace SorsaOrt.Export.HuggingFace;

/// <summary>A folder with config.json and safetensors, one file or shards.</summary>
/// <remarks>Files are opened by plain names inside the folder; links are followed to regular files only (a hub cache links to its blobs).</remarks>
internal sealed class HuggingFaceFolder : IModelSource
{
    private const string Index = "model.safetensors.index.json", Single = "model.safetensors";
    private const long LongestIndex = 256 << 20;

    private readonly Dictionary<string, SafetensorsReader> _files = new(StringComparer.Ordinal);
    private readonly Dictionary<string, SafetensorsReader> _tensors = new(StringComparer.Ordinal);

    private HuggingFaceFolder(string path, DecoderConfig config) => (Path, Config) = (path, config);

    /// <inheritdoc/>
    public string Path { get; }

    /// <inheritdoc/>
    public DecoderConfig Config { get; }

    /// <inheritdoc/>
    public IEnumerable<string> Files => _files.Values.Select(f => f.Path);

    /// <inheritdoc/>
    public string Sizes => "config.json has " + Config.Sizes(name => name);

    /// <inheritdoc/>
    public IEnumerable<string> Names => _tensors.Keys;

    /// <summary>Opens a folder; every header is checked, no weight is read.</summary>
    public static HuggingFaceFolder Open(string path)
    {
        var config = System.IO.Path.Combine(path, "config.json");
        if (!File.Exists(config))
            throw new ModelFormatException($"{path} has no config.json; --from takes a Hugging Face folder (config.json and *.safetensors) or a GGUF file.");
        var folder = new HuggingFaceFolder(path, ConfigFile.Read(config));
        try
        {
            folder.OpenWeights();
            return folder;
        }
        catch
        {
            folder.Dispose();
            throw;
        }
    }

    /// <inheritdoc/>
    public SourceTensor? Find(string name)
    {
        if (!_tensors.TryGetValue(name, out var file))
            return null;
        var entry = file[name];
        if (entry.Type is not (SafetensorsType.F32 or SafetensorsType.F16 or SafetensorsType.BF16 or SafetensorsType.F64))
            throw new UnsupportedGraphException($"{file.Path}: tensor '{name}' is {entry.Type}; F32, F16 and BF16 weights can be exported.");
        return new SourceTensor(name, entry.Shape, (first, destination) => file.ReadFloats(name, first, destination), entry.ByteCount,
            (start, length) => file.Bytes(entry, start, length));
    }

    /// <inheritdoc/>
    public string NameInSource(string name) => name;

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (var file in _files.Values)
            file.Dispose();
    }

    private void OpenWeights()
    {
        if (File.Exists(At(Index)))
        {
            ReadIndex();
            return;
        }
        string[] files = File.Exists(At(Single)) ? [Single]
            : [.. Directory.EnumerateFiles(Path, "*.safetensors").Select(f => System.IO.Path.GetFileName(f)).Order(StringComparer.Ordinal)];
        if (files.Length == 0)
            throw new ModelFormatException($"{Path} holds no *.safetensors"
                + (Directory.EnumerateFiles(Path, "*.bin").Any() ? "; its .bin files are pickles, which are never opened: save the model as safetensors." : "."));
        foreach (var tensor in files.SelectMany(f => Opened(f).Tensors.Select(t => (File: f, t.Name))))
        {
            if (!_tensors.TryAdd(tensor.Name, Opened(tensor.File)))
                throw new ModelFormatException($"{Path}: tensor '{tensor.Name}' stands in two files and there is no {Index} to choose.");
        }
    }

    private void ReadIndex()
    {
        using var document = Json.Read(At(Index), LongestIndex);
        if (!document.RootElement.TryGetProperty("weight_map", out var map) || map.ValueKind != JsonValueKind.Object)
            throw new ModelFormatException($"{At(Index)} has no weight_map.");
        foreach (var entry in map.EnumerateObject())
        {
            var name = entry.Value.ValueKind == JsonValueKind.String ? entry.Value.GetString()! : throw new ModelFormatException($"{At(Index)}: the file of '{entry.Name}' is not a string.");
            if (name.Length is 0 or > 255 || name.AsSpan().ContainsAny('/', '\\', '\0') || name is "." or ".." || name.Contains(':', StringComparison.Ordinal))
                throw new ModelFormatException($"{At(Index)}: '{name}', the file of '{entry.Name}', is not the name of a file in the folder.");
            var file = Opened(name);
            if (!file.Contains(entry.Name))
                throw new ModelFormatException($"{file.Path} holds no tensor '{entry.Name}', which {Index} says it does.");
            _tensors[entry.Name] = file;
        }
    }

    private SafetensorsReader Opened(string name) =>
        _files.TryGetValue(name, out var file) ? file : _files[name] = SafetensorsReader.Open(At(name));

    private string At(string name) => System.IO.Path.Combine(Path, name);
}
