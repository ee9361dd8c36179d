using System.Runtime.InteropServices;
using Microsoft.ML.OnnxRuntime;

namespace SorsaOrt.Engines;

/// <summary>The process's one ONNX Runtime environment, started with its telemetry off.</summary>
/// <remarks>
/// ONNX Runtime's official builds of 2026 upload events by default (onnxruntime#27379); the Linux library of the NuGet package
/// holds the uploader. <c>ORT_DISABLE_TELEMETRY=1</c> set before the environment is made turns all of it off: no uploader, no device
/// identifier on disk. .NET's own <see cref="Environment.SetEnvironmentVariable(string, string?)"/> does not reach native <c>getenv</c>
/// on Unix, hence the C library's setter. Everything in the product that makes a session goes through <see cref="Start"/> first.
/// </remarks>
public static partial class OrtRuntime
{
    /// <summary>Variable that the native library reads when its environment is made.</summary>
    public const string TelemetryVariable = "ORT_DISABLE_TELEMETRY";

    private static readonly Lazy<OrtEnv> Started = new(StartOnce);

    /// <summary>Starts the runtime, or gives the one that runs.</summary>
    public static OrtEnv Start() => Started.Value;

    /// <summary>Names of the execution providers in the native library that was loaded.</summary>
    public static IReadOnlyList<string> Providers => Start().GetAvailableProviders();

    /// <summary>Version of the native library, such as "1.31.1".</summary>
    public static string Version => Start().GetVersionString();

    private static OrtEnv StartOnce()
    {
        DisableTelemetry();
        try
        {
            var options = new EnvironmentCreationOptions { logId = "sorsa", logLevel = OrtLoggingLevel.ORT_LOGGING_LEVEL_ERROR };
            var environment = OrtEnv.IsCreated ? OrtEnv.Instance() : OrtEnv.CreateInstanceWithOptions(ref options);
            environment.DisableTelemetryEvents();
            return environment;
        }
        catch (Exception e) when (e is OnnxRuntimeException or DllNotFoundException or TypeInitializationException or EntryPointNotFoundException)
        {
            throw new EngineException("ONNX Runtime's native library cannot be started for "
                + $"{RuntimeInformation.RuntimeIdentifier}: {(e.InnerException ?? e).Message}. Check that the build's OrtFlavor suits this machine.", e);
        }
    }

    private static void DisableTelemetry()
    {
        Environment.SetEnvironmentVariable(TelemetryVariable, "1");
        if (OperatingSystem.IsWindows())
            _ = SetWindowsVariable(TelemetryVariable, "1");
        else if (SetUnixVariable(TelemetryVariable, "1", 1) != 0)
            throw new EngineException($"{TelemetryVariable}=1 cannot be set in the process environment, so ONNX Runtime is not started.");
    }

    [LibraryImport("libc", EntryPoint = "setenv", StringMarshalling = StringMarshalling.Utf8)]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial int SetUnixVariable(string name, string value, int overwrite);

    [LibraryImport("ucrtbase", EntryPoint = "_putenv_s", StringMarshalling = StringMarshalling.Utf8)]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial int SetWindowsVariable(string name, string value);
}
