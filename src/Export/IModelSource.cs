namespace SorsaOrt.Export;

/// <summary>A model to export: its configuration and its weights by their Hugging Face names.</summary>
internal interface IModelSource : IDisposable
{
    /// <summary>Path of the folder or file.</summary>
    string Path { get; }

    /// <summary>What the model is.</summary>
    DecoderConfig Config { get; }

    /// <summary>Every file that weights are read from.</summary>
    IEnumerable<string> Files { get; }

    /// <summary>The sizes that shapes follow from, as the source names them: for messages.</summary>
    string Sizes { get; }

    /// <summary>The weight of that Hugging Face name (<c>model.layers.0.mlp.up_proj.weight</c>), or null where the source has none.</summary>
    SourceTensor? Find(string name);

    /// <summary>The name under which the source would hold a weight, for messages.</summary>
    string NameInSource(string name);

    /// <summary>Hugging Face names of all weights; those with no such name as they stand.</summary>
    IEnumerable<string> Names { get; }
}
