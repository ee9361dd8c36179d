using SorsaOrt.Ir.Passes;
using SorsaOrt.Ir.Serialization;

namespace SorsaOrt.Inference;

/// <summary>A copy of a model that computes in float32, for devices without kernels for what the file stores: bfloat16 on the CPU.</summary>
public static class UpcastModel
{
    /// <summary>Writes the copy into <paramref name="folder"/> and returns its path; null where the model stores nothing narrower than float32.</summary>
    /// <remarks>Matrices stay as they are stored, behind a Cast: the copy is as large as the file.</remarks>
    public static string? Write(string path, string folder)
    {
        using var model = OnnxReader.Read(path);
        if (ComputeInFloat32.Run(model.Graph) == 0)
            return null;
        var layout = ExternalLayout.InOneFile(model, "model.onnx.data");
        layout.WriteData(location => File.Create(Path.Combine(folder, location)));
        var copy = Path.Combine(folder, "model.onnx");
        using var stream = File.Create(copy);
        OnnxWriter.Write(model, stream, layout.Place);
        return copy;
    }
}
