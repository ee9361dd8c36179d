namespace SorsaOrt.Artifacts.OrtFormats;

/// <summary>A tensor of an adapter, named as the model's input that it replaces.</summary>
/// <param name="Name">Graph input of the model.</param>
/// <param name="ElementType">ONNX's number of the element type: 1 float, 10 float16, 16 bfloat16.</param>
/// <param name="Shape">Dimensions.</param>
/// <param name="Data">Row-major, little-endian.</param>
public sealed record OrtAdapterParameter(string Name, int ElementType, IReadOnlyList<long> Shape, byte[] Data);

/// <summary>Writes .onnx_adapter files, which ONNX Runtime (since 1.20) loads as OrtLoraAdapter.</summary>
/// <remarks>Source: microsoft/onnxruntime, onnxruntime/lora/adapter_format/adapter_schema.fbs, format version 1.</remarks>
public static class OrtAdapterWriter
{
    private const string Identifier = "TORT";
    private const int Version = 1;

    /// <summary>Writes the parameters.</summary>
    /// <param name="stream">Where to; stays the caller's.</param>
    /// <param name="parameters">All of them.</param>
    /// <exception cref="IOException">All of it takes more than the 2 GiB of a FlatBuffers file.</exception>
    public static void Write(Stream stream, IReadOnlyList<OrtAdapterParameter> parameters) => FlatWriter.Write(stream, Identifier, new FlatTable()
        .Int(0, Version)
        .Int(1, 1)
        .Int(2, 1)
        .Tables(3, parameters.Select(p => new FlatTable()
            .String(0, p.Name)
            .Longs(1, p.Shape)
            .Int(2, p.ElementType)
            .Blob(3, new FlatBlob(p.Data.Length, target => target.Write(p.Data))))));
}
