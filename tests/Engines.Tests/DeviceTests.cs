using System.Runtime.InteropServices;
using Xunit;

namespace SorsaOrt.Engines.Tests;

public sealed partial class DeviceTests
{
    private static readonly string[] CpuOnly = ["CPUExecutionProvider"];
    private static readonly string[] WithCuda = ["CUDAExecutionProvider", "CPUExecutionProvider"];

    [Theory]
    [InlineData("cuda", "gpu")]
    [InlineData("cuda:1", "gpu")]
    [InlineData("directml", "directml")]
    public void MissingProvider_NamesTheFlavourToBuildWith(string device, string flavour)
    {
        var error = Assert.Throws<EngineException>(() => Device.Parse(device, CpuOnly));

        Assert.Contains("OrtFlavor=" + flavour, error.Message, StringComparison.Ordinal);
        Assert.Contains("CPUExecutionProvider", error.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("gpu")]
    [InlineData("cpu:1")]
    [InlineData("cuda:")]
    [InlineData("cuda:-1")]
    [InlineData("")]
    public void UnknownDevice_IsRefused(string device) =>
        Assert.Contains("cpu, cuda, cuda:N", Assert.Throws<EngineException>(() => Device.Parse(device, WithCuda)).Message, StringComparison.Ordinal);

    [Fact]
    public void Auto_TakesTheGpuThatIsThere()
    {
        Assert.Equal(Device.Cpu, Device.Parse("auto", CpuOnly));
        Assert.Equal("cuda:0", Device.Parse("auto", WithCuda).ToString());
        Assert.Equal("cuda:3", Device.Parse("cuda:3", WithCuda).ToString());
    }

    [Fact]
    public void Cpu_IsAlwaysThere() => Assert.Equal(Device.Cpu, Device.Parse("cpu"));

    [Fact]
    public void Start_LeavesTelemetryOffInTheNativeEnvironment()
    {
        Assert.SkipWhen(OperatingSystem.IsWindows(), "reads the C library's environment");
        OrtRuntime.Start();

        Assert.Equal("1", Marshal.PtrToStringUTF8(GetEnv(OrtRuntime.TelemetryVariable)));
    }

    [LibraryImport("libc", EntryPoint = "getenv", StringMarshalling = StringMarshalling.Utf8)]
    private static partial nint GetEnv(string name);
}
