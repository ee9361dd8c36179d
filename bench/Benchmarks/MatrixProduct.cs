using Microsoft.ML.OnnxRuntime;
using Microsoft.ML.OnnxRuntime.Tensors;
using SorsaOrt.Engines;
using SorsaOrt.Ir;
using SorsaOrt.Ir.Serialization;

namespace SorsaOrt.Benchmarks;

/// <summary>A product of two square matrices by ONNX Runtime's own MatMul: what this machine can do at best.</summary>
internal sealed class MatrixProduct : IDisposable
{
    /// <summary>Rows and columns.</summary>
    public const int Size = 2048;

    /// <summary>Floating-point operations of one product, in 10⁹.</summary>
    public const double Gigaflops = 2.0 * Size * Size * Size / 1e9;

    private readonly InferenceSession _session;
    private readonly RunOptions _run = new();
    private readonly OrtValue[] _inputs;
    private readonly OrtValue[] _outputs;

    public MatrixProduct(int threads)
    {
        OrtRuntime.Start();
        using var options = new SessionOptions { IntraOpNumThreads = threads, InterOpNumThreads = 1 };
        options.AddSessionConfigEntry("session.force_spinning_stop", "1"); // else its threads spin on into the step that follows
        _session = new InferenceSession(Model(), options);
        _inputs = [Matrix(), Matrix()];
        _outputs = [Matrix()];
    }

    /// <summary>Multiplies once.</summary>
    public void Run() => _session.Run(_run, ["a", "b"], _inputs, ["y"], _outputs);

    public void Dispose()
    {
        _session.Dispose();
        _run.Dispose();
        foreach (var value in _inputs.Concat(_outputs))
            value.Dispose();
    }

    private static byte[] Model()
    {
        var op = new OpBuilder(new Graph("matrix_product"));
        var type = new TensorType(ElementType.Float32, [Dim.Of(Size), Dim.Of(Size)]);
        var y = op.MatMul(op.Graph.AddInput("a", type), op.Graph.AddInput("b", type));
        op.Graph.Rename(y, "y");
        op.Graph.AddOutput(y);
        using var model = new Model(op.Graph);
        model.Opsets[""] = OpBuilder.WorkingOpset;
        return OnnxWriter.ToBytes(model);
    }

    private static OrtValue Matrix()
    {
        var value = OrtValue.CreateAllocatedTensorValue(OrtAllocator.DefaultInstance, TensorElementType.Float, [Size, Size]);
        var elements = value.GetTensorMutableDataAsSpan<float>();
        for (var i = 0; i < elements.Length; i++)
            elements[i] = i % 17 / 16f - 0.5f;
        return value;
    }
}
