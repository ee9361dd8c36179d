namespace SorsaOrt.Ir.Serialization;

/// <summary>The model file and the external data files beside it, each mapped once.</summary>
internal sealed class ModelFiles : IDisposable
{
    private readonly string _modelPath;
    private readonly Dictionary<string, MappedFile> _external = new(StringComparer.Ordinal);

    /// <summary>Opens and maps the model file.</summary>
    public ModelFiles(string modelPath)
    {
        _modelPath = modelPath;
        Model = new MappedFile(modelPath, ExternalPath.OpenModel(modelPath));
    }

    /// <summary>The model file.</summary>
    public MappedFile Model { get; }

    /// <summary>The data file at <paramref name="location"/>.</summary>
    public MappedFile External(string location)
    {
        if (_external.TryGetValue(location, out var file))
            return file;
        var (path, stream) = ExternalPath.OpenForReading(_modelPath, location);
        return _external[location] = new MappedFile(path, stream);
    }

    /// <summary>Hands all files over to <paramref name="model"/>.</summary>
    public void GiveTo(Model model)
    {
        model.Own(Model);
        foreach (var file in _external.Values)
            model.Own(file);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        Model.Dispose();
        foreach (var file in _external.Values)
            file.Dispose();
    }
}
