using System.Globalization;
using SorsaOrt.Artifacts;
using SorsaOrt.Export.Gguf;
using SorsaOrt.Export.HuggingFace;
using SorsaOrt.Ir;
using SorsaOrt.Ir.Serialization;

namespace SorsaOrt.Export;

/// <summary><c>sorsa export</c>: a Hugging Face folder or GGUF file becomes an ONNX model that runs anywhere and can be trained.</summary>
/// <remarks>Weights are streamed from the mapped source into the file; a panel of one weight is in memory at a time.</remarks>
public static class ModelExporter
{
    /// <summary>Weights of more than this lie in model.onnx.data: one file below, and far from protobuf's limit of 2 GiB.</summary>
    public const long LargestInline = 1L << 30;

    private const string DataSuffix = ".data";
    private const int SmallestExternal = 1024, Alignment = 4096;
    private const long Opset = 18, IrVersion = 8; // Read by every ONNX Runtime since 1.14.

    /// <summary>Writes the model. Nothing is left behind when it fails.</summary>
    /// <exception cref="ModelFormatException">The source is damaged, inconsistent, or holds values that are not finite.</exception>
    /// <exception cref="UnsupportedGraphException">The source is of a kind that cannot be exported.</exception>
    /// <exception cref="OutputExistsException">The output exists and is not to be replaced.</exception>
    public static ExportReport Export(ExportOptions options) => Export(options, LargestInline);

    internal static ExportReport Export(ExportOptions options, long largestInline)
    {
        using var source = Open(options.Source);
        RefuseToReplace(source, options.OutputPath);
        var op = new OpBuilder(new Graph("main_graph"));
        var weights = new GraphWeights(source, op, options.WeightType);
        DecoderGraph.Build(source.Config, op, weights, options.KeyValueCache);
        weights.RefuseUnused();
        using var model = Described(op.Graph, source);
        var isExternal = weights.Bytes > largestInline;
        var files = Write(model, options, isExternal);
        var parameters = model.Graph.Initializers.Where(v => v.Constant is StreamedTensor).Sum(v => v.Constant!.ElementCount);
        var folder = Path.GetDirectoryName(options.OutputPath) ?? "";
        return new ExportReport(source.Config.Architecture.ToString(), source.Config.Layers, parameters, files.Sum(f => f.Size),
            [.. files.Select(f => Path.Combine(folder, f.Path)).OrderBy(f => f != options.OutputPath)]);
    }

    private static IModelSource Open(string path) => Directory.Exists(path) ? HuggingFaceFolder.Open(path) : GgufSource.Open(path);

    // Even with force: the source would be gone and its export in its place.
    private static void RefuseToReplace(IModelSource source, string output)
    {
        var full = Path.GetFullPath(output);
        if (source.Files.FirstOrDefault(f => Path.GetFullPath(f) is var file && (file == full || file == full + DataSuffix)) is { } file)
            throw new IOException($"'{output}' would replace '{file}', which it is made of; choose another output.");
    }

    private static Model Described(Graph graph, IModelSource source)
    {
        var config = source.Config;
        var model = new Model(graph)
        {
            IrVersion = IrVersion,
            ProducerName = "sorsa",
            ProducerVersion = typeof(ModelExporter).Assembly.GetName().Version?.ToString(3) ?? "0",
        };
        model.Opsets[""] = Opset;
        Describe("sorsa.source", Path.GetFileName(Path.TrimEndingDirectorySeparator(Path.GetFullPath(source.Path))));
        Describe("sorsa.architecture", config.Architecture.ToString());
        Describe("sorsa.hidden_size", config.HiddenSize);
        Describe("sorsa.layers", config.Layers);
        Describe("sorsa.heads", config.Heads);
        Describe("sorsa.key_value_heads", config.KeyValueHeads);
        Describe("sorsa.head_size", config.HeadSize);
        Describe("sorsa.max_positions", config.MaxPositions);
        Describe("sorsa.tied_embeddings", config.Tied ? "true" : "false");
        return model;

        void Describe(string key, IConvertible value) => model.Metadata.Add(new(key, value.ToString(CultureInfo.InvariantCulture)));
    }

    private static IReadOnlyList<FileEntry> Write(Model model, ExportOptions options, bool isExternal)
    {
        using var files = new StagedFiles(options.OutputPath, options.Force);
        var name = Path.GetFileName(options.OutputPath);
        var layout = isExternal ? ExternalLayout.InOneFile(model, name + DataSuffix, SmallestExternal, Alignment) : null;
        layout?.WriteData(files.Create);
        using (var stream = files.Create(name))
        {
            OnnxWriter.Write(model, stream, layout is null ? null : layout.Place);
            stream.Complete();
        }
        return files.Commit();
    }
}
