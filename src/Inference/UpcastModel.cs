using SorsaOrt.Ir.Passes;
using SorsaOrt.Ir.Serialization;

namespace SorsaOrt.Inference;

/// <summary>A copy of a model that computes in float32, for devices without kernels for what the file stores: bfloat16 on the CPU. Deleted when disposed.</summary>
internal sealed class UpcastModel : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("sorsa-upcast-").FullName;

    private UpcastModel() { }

    /// <summary>The copy.</summary>
    public string Path => System.IO.Path.Combine(_folder, "model.onnx");

    /// <summary>Writes the copy; null where the model stores nothing narrower than float32.</summary>
    /// <remarks>Matrices stay as they are stored, behind a Cast: the copy is as large as the file.</remarks>
    public static UpcastModel? Of(string path)
    {
        using var model = OnnxReader.Read(path);
        if (ComputeInFloat32.Run(model.Graph) == 0)
            return null;
        var copy = new UpcastModel();
        try
        {
            var layout = ExternalLayout.InOneFile(model, "model.onnx.data");
            layout.WriteData(location => File.Create(System.IO.Path.Combine(copy._folder, location)));
            using var stream = File.Create(copy.Path);
            OnnxWriter.Write(model, stream, layout.Place);
            return copy;
        }
        catch
        {
            copy.Dispose();
            throw;
        }
    }

    /// <inheritdoc/>
    public void Dispose() => Directory.Delete(_folder, recursive: true);
}
