using System.Runtime.InteropServices;

namespace SorsaOrt.Trainer;

/// <summary>Turns the first SIGINT, SIGTERM or, on Linux, SIGUSR1 into a request to stop; a second one ends the process as usual.</summary>
/// <remarks>SIGUSR1 because mpirun hands it on and waits, whereas it follows SIGINT and SIGTERM with SIGKILL a second later.</remarks>
public sealed class StopSignals : IDisposable
{
    private const PosixSignal LinuxUserSignal1 = (PosixSignal)10;

    private readonly CancellationTokenSource _requested = new();
    private readonly PosixSignalRegistration[] _registrations;

    /// <summary>Listens from now on.</summary>
    public StopSignals() => _registrations =
        [.. Signals.Select(signal => PosixSignalRegistration.Create(signal, Request))];

    /// <summary>Cancelled when a signal has come.</summary>
    public CancellationToken Token => _requested.Token;

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (var registration in _registrations)
            registration.Dispose();
        _requested.Dispose();
    }

    private static PosixSignal[] Signals => OperatingSystem.IsLinux() ? [PosixSignal.SIGINT, PosixSignal.SIGTERM, LinuxUserSignal1] : [PosixSignal.SIGINT, PosixSignal.SIGTERM];

    private void Request(PosixSignalContext context)
    {
        if (_requested.IsCancellationRequested)
            return;
        context.Cancel = true;
        _requested.Cancel();
    }
}
