using System.Globalization;
using Microsoft.ML.OnnxRuntime;

namespace SorsaOrt.Engines;

/// <summary>Kinds of devices that sessions run on.</summary>
public enum DeviceKind
{
    /// <summary>The processor.</summary>
    Cpu,
    /// <summary>An NVIDIA GPU.</summary>
    Cuda,
    /// <summary>A GPU through DirectX 12, on Windows.</summary>
    DirectMl,
}

/// <summary>Where sessions run: a kind and, for GPUs, which one.</summary>
/// <param name="Kind">The execution provider's kind.</param>
/// <param name="Index">Which of several GPUs, from 0.</param>
public readonly record struct Device(DeviceKind Kind, int Index)
{
    /// <summary>The processor.</summary>
    public static Device Cpu => new(DeviceKind.Cpu, 0);

    /// <summary>Reads <c>cpu</c>, <c>cuda[:N]</c> or <c>directml[:N]</c>, or picks the best that is there for <c>auto</c>; checks that its provider is there.</summary>
    /// <exception cref="EngineException">The text is none of these, or the native library lacks the provider: never a silent run elsewhere.</exception>
    public static Device Parse(string text) => Parse(text, OrtRuntime.Providers);

    internal static Device Parse(string text, IReadOnlyList<string> providers)
    {
        if (text is "auto")
        {
            return providers.Contains(ProviderOf(DeviceKind.Cuda)) ? new(DeviceKind.Cuda, 0)
                : providers.Contains(ProviderOf(DeviceKind.DirectMl)) ? new(DeviceKind.DirectMl, 0) : Cpu;
        }
        var colon = text.IndexOf(':', StringComparison.Ordinal);
        DeviceKind? kind = (colon < 0 ? text : text[..colon]) switch
        {
            "cpu" when colon < 0 => DeviceKind.Cpu,
            "cuda" => DeviceKind.Cuda,
            "directml" => DeviceKind.DirectMl,
            _ => null,
        };
        var index = 0;
        if (kind is null || colon >= 0 && !int.TryParse(text.AsSpan(colon + 1), NumberStyles.None, CultureInfo.InvariantCulture, out index))
            throw new EngineException($"Device '{text}' is not known. Use cpu, cuda, cuda:N, directml, directml:N or auto.");
        if (!providers.Contains(ProviderOf(kind.Value)))
        {
            throw new EngineException($"Device '{text}' needs ONNX Runtime's {ProviderOf(kind.Value)}, which this build does not hold (it holds "
                + $"{string.Join(", ", providers)}). Build with -p:OrtFlavor={FlavorOf(kind.Value)}, or use --device cpu.");
        }
        return new Device(kind.Value, index);
    }

    /// <summary><c>cpu</c>, <c>cuda:0</c>, <c>directml:0</c>.</summary>
    public override string ToString() => Kind switch
    {
        DeviceKind.Cuda => string.Create(CultureInfo.InvariantCulture, $"cuda:{Index}"),
        DeviceKind.DirectMl => string.Create(CultureInfo.InvariantCulture, $"directml:{Index}"),
        _ => "cpu",
    };

    /// <summary>Where a value stays that the device reads again, such as a key/value cache.</summary>
    internal OrtMemoryInfo Memory => Kind switch
    {
        DeviceKind.Cuda => new OrtMemoryInfo("Cuda", OrtAllocatorType.DeviceAllocator, Index, OrtMemType.Default),
        DeviceKind.DirectMl => new OrtMemoryInfo("DML", OrtAllocatorType.DeviceAllocator, Index, OrtMemType.Default),
        _ => OrtMemoryInfo.DefaultInstance,
    };

    private static string ProviderOf(DeviceKind kind) => kind switch
    {
        DeviceKind.Cuda => "CUDAExecutionProvider",
        DeviceKind.DirectMl => "DmlExecutionProvider",
        _ => "CPUExecutionProvider",
    };

    private static string FlavorOf(DeviceKind kind) => kind switch
    {
        DeviceKind.Cuda => "gpu (package Microsoft.ML.OnnxRuntime.Gpu)",
        DeviceKind.DirectMl => "directml (package Microsoft.ML.OnnxRuntime.DirectML)",
        _ => "cpu (package Microsoft.ML.OnnxRuntime)",
    };
}
