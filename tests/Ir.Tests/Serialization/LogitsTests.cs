using System.Runtime.InteropServices;
using System.Text.Json;
using SorsaOrt.Ir.Serialization;
using SorsaOrt.TestSupport;
using Xunit;

namespace SorsaOrt.Ir.Tests.Serialization;

/// <summary>ONNX Runtime computes the golden logits from a file that was read and written again.</summary>
public sealed class LogitsTests
{
    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void RewrittenModel_GivesTheGoldenLogits(bool optimize)
    {
        using var model = OnnxReader.Read(Paths.Fixture("nano-llama", "optimum-no-past.onnx"));
        var logits = OrtRun.Run(model, Feeds(Paths.Fixture("nano-llama", "inputs.json")), ["logits"], optimize)["logits"].As<float>();
        var expected = MemoryMarshal.Cast<byte, float>(File.ReadAllBytes(Paths.Fixture("nano-llama", "logits.f32"))).ToArray();
        Assert.Equal(expected.Length, logits.Length);
        Assert.All(expected.Zip(logits), pair => Assert.Equal(pair.First, pair.Second, 1e-4f));
    }

    [Fact]
    public void Telemetry_IsOffInTheNativeEnvironment()
    {
        Assert.SkipWhen(OperatingSystem.IsWindows(), "The native environment is .NET's own there.");
        // Whatever else has run or not: loading the module that runs sessions is what switches it off.
        System.Runtime.CompilerServices.RuntimeHelpers.RunModuleConstructor(typeof(OrtRun).Module.ModuleHandle);
        Assert.Equal("1", Marshal.PtrToStringUTF8(GetEnv("ORT_DISABLE_TELEMETRY")));
    }

    private static Dictionary<string, OrtTensor> Feeds(string path)
    {
        using var json = JsonDocument.Parse(File.ReadAllText(path));
        var feeds = new Dictionary<string, OrtTensor>();
        foreach (var input in json.RootElement.EnumerateObject())
        {
            var rows = input.Value.EnumerateArray().Select(r => r.EnumerateArray().Select(e => e.GetInt64()).ToArray()).ToArray();
            feeds[input.Name] = OrtTensor.Of([.. rows.SelectMany(r => r)], rows.Length, rows[0].Length);
        }
        return feeds;
    }

    [DllImport("libc", EntryPoint = "getenv")]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static extern nint GetEnv([MarshalAs(UnmanagedType.LPUTF8Str)] string name);
}
