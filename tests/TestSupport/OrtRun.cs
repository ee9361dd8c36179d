using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Microsoft.ML.OnnxRuntime;
using Microsoft.ML.OnnxRuntime.Tensors;
using SorsaOrt.Ir;
using SorsaOrt.Ir.Serialization;

namespace SorsaOrt.TestSupport;

/// <summary>Input or output of a run.</summary>
/// <param name="Type">Element type.</param>
/// <param name="Shape">Lengths of the axes.</param>
/// <param name="Data">A one-dimensional array of float, double, long, int, bool, byte, Half or ushort (bfloat16).</param>
public sealed record OrtTensor(ElementType Type, long[] Shape, Array Data)
{
    /// <summary>A tensor over an array; without a shape it has one axis, or is a scalar if there is one element.</summary>
    public static OrtTensor Of<T>(T[] data, params long[] shape) where T : unmanaged =>
        new(OrtRun.TypeOf(typeof(T)), shape.Length == 0 && data.Length != 1 ? [data.Length] : shape, data);

    /// <summary>A scalar.</summary>
    public static OrtTensor Scalar<T>(T value) where T : unmanaged => new(OrtRun.TypeOf(typeof(T)), [], new[] { value });

    /// <summary>The elements; they must be of that type.</summary>
    public T[] As<T>() => (T[])Data;
}

/// <summary>Runs a model once with ONNX Runtime on the CPU, one thread, telemetry off.</summary>
public static partial class OrtRun
{
    /// <summary>Runs a model of the IR, written with all initializers inside.</summary>
    public static IReadOnlyDictionary<string, OrtTensor> Run(
        Model model, IReadOnlyDictionary<string, OrtTensor> feeds, IReadOnlyList<string>? outputs = null, bool optimize = true) =>
        Run(OnnxWriter.ToBytes(model), feeds, outputs, optimize);

    /// <summary>Runs a model file's bytes.</summary>
    public static IReadOnlyDictionary<string, OrtTensor> Run(
        byte[] model, IReadOnlyDictionary<string, OrtTensor> feeds, IReadOnlyList<string>? outputs = null, bool optimize = true)
    {
        using var options = Options(optimize);
        using var session = new InferenceSession(model, options);
        return Run(session, feeds, outputs);
    }

    /// <summary>Runs a model file.</summary>
    public static IReadOnlyDictionary<string, OrtTensor> Run(
        string path, IReadOnlyDictionary<string, OrtTensor> feeds, IReadOnlyList<string>? outputs = null, bool optimize = true)
    {
        using var options = Options(optimize);
        using var session = new InferenceSession(path, options);
        return Run(session, feeds, outputs);
    }

    /// <summary>Runs an open session; null asks for all outputs, an adapter stands in for the inputs it names.</summary>
    public static IReadOnlyDictionary<string, OrtTensor> Run(
        InferenceSession session, IReadOnlyDictionary<string, OrtTensor> feeds, IReadOnlyList<string>? outputs = null, OrtLoraAdapter? adapter = null)
    {
        var names = outputs ?? session.OutputNames;
        var values = new List<OrtValue>();
        try
        {
            foreach (var feed in feeds.Values)
                values.Add(ToOrt(feed));
            using var run = new RunOptions();
            if (adapter is not null)
                run.AddActiveLoraAdapter(adapter);
            using var results = session.Run(run, [.. feeds.Keys], values, [.. names]);
            return names.Zip(results).ToDictionary(r => r.First, r => FromOrt(r.Second));
        }
        finally
        {
            foreach (var value in values)
                value.Dispose();
        }
    }

    /// <summary>One thread; graph optimisations on or off.</summary>
    public static SessionOptions Options(bool optimize = true) => new()
    {
        IntraOpNumThreads = 1,
        InterOpNumThreads = 1,
        LogSeverityLevel = OrtLoggingLevel.ORT_LOGGING_LEVEL_ERROR,
        GraphOptimizationLevel = optimize ? GraphOptimizationLevel.ORT_ENABLE_ALL : GraphOptimizationLevel.ORT_DISABLE_ALL,
    };

    /// <summary>
    /// Turns off the telemetry of ONNX Runtime before its first use: it reads the native environment, which .NET's own
    /// SetEnvironmentVariable does not reach.
    /// </summary>
    [ModuleInitializer]
    [System.Diagnostics.CodeAnalysis.SuppressMessage("Usage", "CA2255", Justification = "Must run before any test touches ONNX Runtime.")]
    internal static void DisableTelemetry()
    {
        Environment.SetEnvironmentVariable("ORT_DISABLE_TELEMETRY", "1");
        if (!OperatingSystem.IsWindows())
            _ = SetEnv("ORT_DISABLE_TELEMETRY", "1", 1);
    }

    internal static ElementType TypeOf(Type type) => type switch
    {
        _ when type == typeof(float) => ElementType.Float32,
        _ when type == typeof(double) => ElementType.Float64,
        _ when type == typeof(long) => ElementType.Int64,
        _ when type == typeof(int) => ElementType.Int32,
        _ when type == typeof(bool) => ElementType.Bool,
        _ when type == typeof(byte) => ElementType.UInt8,
        _ when type == typeof(Half) => ElementType.Float16,
        _ when type == typeof(ushort) => ElementType.BFloat16,
        _ => throw new ArgumentException($"No element type for {type.Name}.", nameof(type)),
    };

    private static OrtValue ToOrt(OrtTensor tensor) => tensor.Data switch
    {
        float[] d => OrtValue.CreateTensorValueFromMemory(d, tensor.Shape),
        double[] d => OrtValue.CreateTensorValueFromMemory(d, tensor.Shape),
        long[] d => OrtValue.CreateTensorValueFromMemory(d, tensor.Shape),
        int[] d => OrtValue.CreateTensorValueFromMemory(d, tensor.Shape),
        bool[] d => OrtValue.CreateTensorValueFromMemory(d, tensor.Shape),
        byte[] d => OrtValue.CreateTensorValueFromMemory(d, tensor.Shape),
        Half[] d => OrtValue.CreateTensorValueFromMemory(MemoryMarshal.Cast<Half, Float16>(d).ToArray(), tensor.Shape),
        ushort[] d => OrtValue.CreateTensorValueFromMemory(MemoryMarshal.Cast<ushort, BFloat16>(d).ToArray(), tensor.Shape),
        _ => throw new ArgumentException($"No tensor of {tensor.Data.GetType().Name}.", nameof(tensor)),
    };

    private static OrtTensor FromOrt(OrtValue value)
    {
        var info = value.GetTensorTypeAndShape();
        return info.ElementDataType switch
        {
            TensorElementType.Float => new(ElementType.Float32, info.Shape, value.GetTensorDataAsSpan<float>().ToArray()),
            TensorElementType.Double => new(ElementType.Float64, info.Shape, value.GetTensorDataAsSpan<double>().ToArray()),
            TensorElementType.Int64 => new(ElementType.Int64, info.Shape, value.GetTensorDataAsSpan<long>().ToArray()),
            TensorElementType.Int32 => new(ElementType.Int32, info.Shape, value.GetTensorDataAsSpan<int>().ToArray()),
            TensorElementType.Bool => new(ElementType.Bool, info.Shape, value.GetTensorDataAsSpan<bool>().ToArray()),
            TensorElementType.UInt8 => new(ElementType.UInt8, info.Shape, value.GetTensorDataAsSpan<byte>().ToArray()),
            TensorElementType.Int8 => new(ElementType.Int8, info.Shape, value.GetTensorDataAsSpan<sbyte>().ToArray()),
            TensorElementType.Float16 => new(ElementType.Float16, info.Shape, MemoryMarshal.Cast<Float16, Half>(value.GetTensorDataAsSpan<Float16>()).ToArray()),
            TensorElementType.BFloat16 => new(ElementType.BFloat16, info.Shape, MemoryMarshal.Cast<BFloat16, ushort>(value.GetTensorDataAsSpan<BFloat16>()).ToArray()),
            var other => throw new NotSupportedException($"An output of {other}."),
        };
    }

    [LibraryImport("libc", EntryPoint = "setenv", StringMarshalling = StringMarshalling.Utf8)]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial int SetEnv(string name, string value, int overwrite);
}
