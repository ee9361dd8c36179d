using System.Runtime.InteropServices;
using SorsaOrt.Engines;

namespace SorsaOrt.Trainer;

/// <summary>What a run was begun on: for reading later, nothing depends on it.</summary>
/// <param name="Program">Name and version of this program.</param>
/// <param name="Runtime">.NET runtime.</param>
/// <param name="OnnxRuntime">Version of the native ONNX Runtime.</param>
/// <param name="System">Operating system and architecture.</param>
/// <param name="Processors">Logical processors that the process may use.</param>
public sealed record RunEnvironment(string Program, string Runtime, string OnnxRuntime, string System, int Processors)
{
    /// <summary>The environment of this process.</summary>
    public static RunEnvironment Current() => new(
        "sorsa " + (typeof(RunEnvironment).Assembly.GetName().Version?.ToString(3) ?? "0"),
        RuntimeInformation.FrameworkDescription,
        OrtRuntime.Version,
        $"{RuntimeInformation.OSDescription}, {RuntimeInformation.ProcessArchitecture}",
        Environment.ProcessorCount);
}
