using Microsoft.ML.OnnxRuntime;
using SorsaOrt.Engines;

namespace SorsaOrt.Inference;

/// <summary>Sessions for inference: as the training ones, but with the memory arena, for shapes repeat from step to step.</summary>
internal static class InferenceSessions
{
    /// <summary>Loads a model file.</summary>
    /// <exception cref="EngineException">The provider is missing, or ONNX Runtime refuses the graph.</exception>
    public static InferenceSession Open(string path, EngineOptions options)
    {
        OrtRuntime.Start();
        try
        {
            using var session = new SessionOptions
            {
                GraphOptimizationLevel = GraphOptimizationLevel.ORT_ENABLE_ALL,
                ExecutionMode = ExecutionMode.ORT_SEQUENTIAL,
                InterOpNumThreads = 1,
                IntraOpNumThreads = options.Threads,
                EnableMemoryPattern = false,
                LogSeverityLevel = OrtLoggingLevel.ORT_LOGGING_LEVEL_ERROR,
            };
            if (options.Device.Kind == DeviceKind.Cuda)
                session.AppendExecutionProvider_CUDA(options.Device.Index);
            else if (options.Device.Kind == DeviceKind.DirectMl)
                session.AppendExecutionProvider_DML(options.Device.Index);
            return new InferenceSession(path, session);
        }
        catch (OnnxRuntimeException e)
        {
            throw new EngineException($"ONNX Runtime refuses {path} on {options.Device}: {e.Message}", e);
        }
    }

    /// <summary>Where a cache stays between steps.</summary>
    public static OrtMemoryInfo MemoryOf(Device device) => device.Kind switch
    {
        DeviceKind.Cuda => new OrtMemoryInfo("Cuda", OrtAllocatorType.DeviceAllocator, device.Index, OrtMemType.Default),
        DeviceKind.DirectMl => new OrtMemoryInfo("DML", OrtAllocatorType.DeviceAllocator, device.Index, OrtMemType.Default),
        _ => OrtMemoryInfo.DefaultInstance,
    };
}
