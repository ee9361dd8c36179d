using System.Runtime.InteropServices;
using Xunit;

namespace SorsaOrt.Trainer.Tests;

public sealed partial class StopSignalsTests
{
    private const int Terminate = 15;

    [Fact]
    public void Sigterm_RequestsAStop_AndDoesNotEndTheProcess()
    {
        Assert.SkipWhen(OperatingSystem.IsWindows(), "sends a POSIX signal");
        using var signals = new StopSignals();
        Assert.False(signals.Token.IsCancellationRequested);

        Assert.Equal(0, Kill(Environment.ProcessId, Terminate));

        Assert.True(signals.Token.WaitHandle.WaitOne(TimeSpan.FromSeconds(30)));
    }

    [LibraryImport("libc", EntryPoint = "kill")]
    private static partial int Kill(int process, int signal);
}
