using Microsoft.ML.OnnxRuntime;

namespace SorsaOrt.Engines;

/// <summary>A session of one model file on one device, whose failures say which file and what was being done.</summary>
internal sealed class OrtSession : IDisposable
{
    private readonly InferenceSession _session;
    private readonly RunOptions _runOptions = new();

    /// <summary>Loads <paramref name="path"/>.</summary>
    /// <param name="path">An .onnx file; its external data lies beside it.</param>
    /// <param name="options">Device and threads.</param>
    public OrtSession(string path, EngineOptions options)
    {
        Name = Path.GetFileName(path);
        Device = options.Device;
        try
        {
            _session = Load(path, options);
        }
        catch
        {
            _runOptions.Dispose();
            throw;
        }
    }

    /// <summary>Loads a model as every part of the product does.</summary>
    /// <param name="path">An .onnx file.</param>
    /// <param name="options">Device and threads.</param>
    /// <exception cref="EngineException">The provider is missing, or ONNX Runtime refuses the graph.</exception>
    internal static InferenceSession Load(string path, EngineOptions options)
    {
        OrtRuntime.Start();
        try
        {
            using var sessionOptions = SessionOptionsFor(options);
            return new InferenceSession(path, sessionOptions);
        }
        catch (OnnxRuntimeException e)
        {
            throw new EngineException($"ONNX Runtime refuses '{path}' on {options.Device}: {e.Message}", e) { IsModelRefused = true };
        }
    }

    /// <summary>Where it runs.</summary>
    public Device Device { get; }

    /// <summary>File name of the model.</summary>
    public string Name { get; }

    /// <summary>A new set of bound values.</summary>
    public OrtIoBinding NewBinding() => _session.CreateIoBinding();

    /// <summary>Runs with the values bound, outputs written to bound memory.</summary>
    public void Run(OrtIoBinding binding)
    {
        try
        {
            _session.RunWithBinding(_runOptions, binding);
        }
        catch (OnnxRuntimeException e)
        {
            throw new EngineException($"'{Name}' failed while running on {Device}: {e.Message}", e);
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _session.Dispose();
        _runOptions.Dispose();
    }

    private static SessionOptions SessionOptionsFor(EngineOptions options)
    {
        var session = new SessionOptions
        {
            GraphOptimizationLevel = GraphOptimizationLevel.ORT_ENABLE_ALL,
            ExecutionMode = ExecutionMode.ORT_SEQUENTIAL,
            InterOpNumThreads = 1,
            IntraOpNumThreads = options.Threads,
            // Batches change shape, so a memory plan of the first one only costs memory.
            EnableMemoryPattern = false,
            // Without the arena every large intermediate is mapped and unmapped anew, and the page faults of that take longer than the
            // arithmetic: docs/performance.md.
            EnableCpuMemArena = true,
            LogSeverityLevel = OrtLoggingLevel.ORT_LOGGING_LEVEL_ERROR,
        };
        // Packed copies are 1050 MB for SmolLM2's 425 MB of Linears, which only then leave memory; without them products pack anew each time.
        session.AddSessionConfigEntry("session.disable_prepacking", options.PackWeights ? "0" : "1");
        // Else its threads spin on for tens of milliseconds after a run, while the optimizer's want the cores.
        if (options.Training)
            session.AddSessionConfigEntry("session.force_spinning_stop", "1");
        if (options.ProfilePrefix is { } prefix)
        {
            session.ProfileOutputPathPrefix = prefix; // first: profiling is enabled with the prefix of that moment
            session.EnableProfiling = true;
        }
        try
        {
            AppendProvider(session, options);
        }
        catch
        {
            session.Dispose();
            throw;
        }
        return session;
    }

    private static void AppendProvider(SessionOptions session, EngineOptions options)
    {
        var device = options.Device;
        switch (device.Kind)
        {
            case DeviceKind.Cuda:
                using (var cuda = new OrtCUDAProviderOptions())
                {
                    cuda.UpdateOptions(new Dictionary<string, string>
                    {
                        ["device_id"] = device.Index.ToString(System.Globalization.CultureInfo.InvariantCulture),
                        ["use_tf32"] = options.Tf32 ? "1" : "0",
                    });
                    session.AppendExecutionProvider_CUDA(cuda);
                }
                break;
            case DeviceKind.DirectMl:
                session.AppendExecutionProvider_DML(device.Index);
                break;
        }
    }
}
