using System.Runtime.InteropServices;

namespace SorsaOrt.Artifacts.OrtFormats;

/// <summary>A tensor of an official checkpoint, as its table describes it.</summary>
/// <param name="Name">Parameter or moment name.</param>
/// <param name="Shape">Lengths of the axes; empty for a scalar, and always in a nominal checkpoint.</param>
/// <param name="Type">Number of the element type, as in ONNX (1 is float32).</param>
/// <param name="Start">First byte of the data.</param>
/// <param name="Length">Bytes of the data; 0 in a nominal checkpoint.</param>
/// <param name="IsExternal">The data lies in the file NAME.data beside the checkpoint.</param>
public sealed record OrtCheckpointTensor(string Name, IReadOnlyList<long> Shape, int Type, long Start, int Length, bool IsExternal);

/// <summary>AdamW's state in an official checkpoint.</summary>
/// <param name="Step">Optimizer steps done.</param>
/// <param name="InitialLearningRate">The rate the optimizer began with.</param>
/// <param name="FirstMoments">m by parameter name; empty where the optimizer has not stepped.</param>
/// <param name="SecondMoments">v by parameter name.</param>
public sealed record OrtOptimizerGroup(
    long Step, float InitialLearningRate, IReadOnlyDictionary<string, OrtCheckpointTensor> FirstMoments, IReadOnlyDictionary<string, OrtCheckpointTensor> SecondMoments);

/// <summary>A checkpoint of ONNX Runtime's official on-device training (FlatBuffers, identifier ODTC, version 2), open for reading.</summary>
/// <remarks>All of its structure is checked when it is opened; the data is mapped. Format: ../shared/conformance/ort-training/SPEC.md section 5.</remarks>
public sealed class OrtCheckpoint : IDisposable
{
    private readonly MappedBytes _file;
    private readonly MappedBytes? _external;

    private OrtCheckpoint(string path)
    {
        Path = path;
        _file = new MappedBytes(path);
        try
        {
            string data = path + ".data";
            _external = OrtCheckpointStructure.HasExternalData(path, Bytes) ? new MappedBytes(data) : null;
            var structure = OrtCheckpointStructure.Read(path, Bytes, _external?.Length);
            (Trainable, Frozen, IsNominal, Optimizer) = (structure.Trainable, structure.Frozen, structure.IsNominal, structure.Optimizer);
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    /// <summary>Path as opened.</summary>
    public string Path { get; }

    /// <summary>Parameters that are trained.</summary>
    public IReadOnlyList<OrtCheckpointTensor> Trainable { get; }

    /// <summary>Parameters that are not.</summary>
    public IReadOnlyList<OrtCheckpointTensor> Frozen { get; }

    /// <summary>Names and types only, without values.</summary>
    public bool IsNominal { get; }

    /// <summary>State of the optimizer; null where there is none.</summary>
    public OrtOptimizerGroup? Optimizer { get; }

    /// <summary>Opens a checkpoint.</summary>
    /// <exception cref="ArtifactMismatchException">It breaks the format; the table or tensor is named.</exception>
    /// <exception cref="IOException">It is absent, unreadable or not a regular file.</exception>
    public static OrtCheckpoint Open(string path) => new(path);

    /// <summary>A view of a tensor's bytes, valid until <see cref="Dispose"/>.</summary>
    public ReadOnlySpan<byte> Data(OrtCheckpointTensor tensor) => (tensor.IsExternal ? _external! : _file).Span(tensor.Start, tensor.Length);

    /// <summary>A view of a float32 tensor's elements, valid until <see cref="Dispose"/>.</summary>
    public ReadOnlySpan<float> Floats(OrtCheckpointTensor tensor) => MemoryMarshal.Cast<byte, float>(Data(tensor));

    /// <summary>The text property of that name, which a program may keep in a checkpoint; null where there is none.</summary>
    /// <exception cref="ArtifactMismatchException">The properties break the format.</exception>
    public string? Property(string name) => OrtCheckpointStructure.Property(Path, Bytes, name);

    /// <inheritdoc/>
    public void Dispose()
    {
        _file.Dispose();
        _external?.Dispose();
    }

    private ReadOnlySpan<byte> Bytes => _file.Length <= FlatWriter.MaxBytes ? _file.Span(0, (int)_file.Length)
        : throw new ArtifactMismatchException(Path, $"{Text.Quote(Path)} holds {_file.Length} bytes, a FlatBuffers file holds {FlatWriter.MaxBytes} at most.");
}
