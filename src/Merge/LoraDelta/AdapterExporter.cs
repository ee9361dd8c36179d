using SorsaOrt.Artifacts;
using SorsaOrt.Artifacts.OrtFormats;
using SorsaOrt.Ir;
using SorsaOrt.Ir.Serialization;

namespace SorsaOrt.Merge.LoraDelta;

/// <summary><c>sorsa export-adapter</c>: what training changed, as a LoRA over the original weights.</summary>
public sealed class AdapterExporter : IDisposable
{
    private readonly ArtifactSet _artifacts;
    private readonly string _path;
    private readonly bool _force;
    private readonly SafetensorsReader _start;
    private readonly Model _frozen;
    private readonly Model _original;
    private readonly TargetDeltas _deltas;

    private AdapterExporter(ArtifactSet artifacts, Checkpoint checkpoint, string path, bool force)
    {
        (_artifacts, _path, _force) = (artifacts, path, force);
        try
        {
            _start = artifacts.OpenParameters();
            _frozen = OnnxReader.Read(artifacts.PathOf(ArtifactFiles.EvalModel));
            _original = OriginalModel.Read(artifacts, _start, _frozen.Graph);
            _deltas = new TargetDeltas(artifacts.Manifest, _start, checkpoint.Parameters, _frozen.Graph, _original.Graph);
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    /// <summary>Writes the adapter. Nothing is left behind when it fails.</summary>
    /// <param name="artifacts">The artifacts.</param>
    /// <param name="checkpoint">Trained parameters.</param>
    /// <param name="format">For whom.</param>
    /// <param name="outputPath">A folder for PEFT, else a file. The model for an .onnx_adapter lies beside it: NAME.base.onnx.</param>
    /// <param name="withBase">Whether that model is written; one serves all adapters of the same artifacts.</param>
    /// <param name="force">Replace existing files.</param>
    /// <exception cref="UnsupportedGraphException">Full fine-tuning, which no adapter can hold, or a model that cannot take one.</exception>
    public static AdapterReport Export(ArtifactSet artifacts, Checkpoint checkpoint, AdapterFormat format, string outputPath, bool withBase = true, bool force = false)
    {
        if (artifacts.Manifest.Method == TrainingMethod.Full)
            throw new UnsupportedGraphException($"'{artifacts.Folder}' was built with --method full: what it trains is a change of full rank, which is no adapter; write the whole weights with sorsa merge");
        if (artifacts.Contains(outputPath))
            throw new OutputExistsException($"'{outputPath}' lies in the artifacts that are exported from; choose another output.");
        using var exporter = new AdapterExporter(artifacts, checkpoint, outputPath, force);
        var files = format switch
        {
            AdapterFormat.Peft => exporter.WritePeft(),
            AdapterFormat.Safetensors => exporter.WriteSafetensors(),
            _ => exporter.WriteOnnxAdapter(withBase),
        };
        return new AdapterReport(artifacts.Manifest.Targets.Count, artifacts.Manifest.Targets.Max(exporter._deltas.RankOf), exporter._deltas.LeftOut, files);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _original?.Dispose();
        _frozen?.Dispose();
        _start?.Dispose();
    }

    private string[] WritePeft()
    {
        using var folder = new StagedFolder(_path, _force, [PeftFiles.Config, PeftFiles.Weights]);
        using (var stream = folder.Create(PeftFiles.Weights))
        {
            PeftFiles.WriteWeights(stream, _artifacts.Manifest.Targets, _deltas);
            stream.Complete();
        }
        folder.Write(PeftFiles.Config, PeftFiles.ConfigOf(_artifacts.Manifest, _deltas));
        folder.Commit();
        return [Path.Combine(folder.FinalPath, PeftFiles.Weights), Path.Combine(folder.FinalPath, PeftFiles.Config)];
    }

    private string[] WriteSafetensors()
    {
        using var file = new AtomicFile(_path, _force);
        SafetensorsDeclaration Declare(string module, string part, params long[] shape) => new($"{module}.{part}", SafetensorsType.F32, shape);
        var writer = new SafetensorsWriter(file.Stream, [.. _artifacts.Manifest.Targets.SelectMany(t => new[]
        {
            Declare(t.Module, "A", _deltas.RankOf(t), t.In), Declare(t.Module, "S", _deltas.RankOf(t)), Declare(t.Module, "B", t.Out, _deltas.RankOf(t)),
        })]);
        foreach (var target in _artifacts.Manifest.Targets)
        {
            var delta = _deltas.Of(target);
            writer.Write(target.Module + ".A", delta.A);
            writer.Write(target.Module + ".S", delta.S);
            writer.Write(target.Module + ".B", delta.B);
        }
        writer.Complete();
        file.Commit();
        return [Path.GetFullPath(_path)];
    }

    private string[] WriteOnnxAdapter(bool withBase)
    {
        using var files = new StagedFiles(_path, _force);
        var name = Path.GetFileName(files.FinalPath);
        var adapters = _artifacts.Manifest.Targets.GroupBy(t => t.WeightName, StringComparer.Ordinal).Select(sharing => OptionalAdapter.Insert(_original.Graph, [.. sharing])).ToList();
        using (var stream = files.Create(name))
        {
            OrtAdapterWriter.Write(stream, [.. adapters.SelectMany(a => a.Parameters(_deltas))]);
            stream.Complete();
        }
        if (withBase)
            WriteBase(files, Path.GetFileNameWithoutExtension(name) + ".base.onnx");
        return [.. files.Commit().Select(f => Path.Combine(Path.GetDirectoryName(files.FinalPath)!, f.Path))];
    }

    private void WriteBase(StagedFiles files, string name)
    {
        _original.Graph.SortTopologically();
        var layout = new SourceLayout(_artifacts, _original.Graph, Path.Combine(Path.GetDirectoryName(files.FinalPath)!, name), _force);
        layout.WriteData(files, threads: 1);
        using var stream = files.Create(name);
        OnnxWriter.Write(_original, stream, layout.Place);
        stream.Complete();
    }
}
