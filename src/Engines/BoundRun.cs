using Microsoft.ML.OnnxRuntime;

namespace SorsaOrt.Engines;

/// <summary>A session together with values bound to its inputs and outputs, to run again and again. Owns the values given to it.</summary>
/// <remarks>
/// On the CPU the session reads and writes the bound memory itself, so binding once is enough. On a GPU, ONNX Runtime copies an input in
/// host memory to the device when it is bound, so inputs are bound anew before every run; outputs are copied back after it. That is
/// correct for outputs that share memory with inputs too, at the price of moving parameters and gradients over the bus every
/// micro-batch. The GPU way is written from the documentation and has not been run.
/// </remarks>
internal sealed class BoundRun : IDisposable
{
    private readonly OrtSession _session;
    private readonly OrtIoBinding _binding;
    private readonly Dictionary<string, OrtValue> _inputs = new(StringComparer.Ordinal);
    private readonly Dictionary<string, OrtValue> _outputs = new(StringComparer.Ordinal);

    /// <summary>A run of <paramref name="session"/>, which the caller keeps.</summary>
    public BoundRun(OrtSession session)
    {
        _session = session;
        _binding = session.NewBinding();
    }

    /// <summary>Binds an input and takes the value over; the value bound there before is freed.</summary>
    public BoundRun Input(string name, OrtValue value)
    {
        Keep(_inputs, name, value);
        Bind(name, () => _binding.BindInput(name, value), "input");
        return this;
    }

    /// <summary>Binds an output and takes the value over; the value bound there before is freed.</summary>
    public BoundRun Output(string name, OrtValue value)
    {
        Keep(_outputs, name, value);
        Bind(name, () => _binding.BindOutput(name, value), "output");
        return this;
    }

    /// <summary>Runs.</summary>
    public void Run()
    {
        if (_session.Device.Kind != DeviceKind.Cpu)
        {
            foreach (var (name, value) in _inputs)
                _binding.BindInput(name, value);
        }
        _session.Run(_binding);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _binding.Dispose();
        foreach (var value in _inputs.Values.Concat(_outputs.Values))
            value.Dispose();
    }

    private void Bind(string name, Action bind, string what)
    {
        try
        {
            bind();
        }
        catch (OnnxRuntimeException e)
        {
            throw new EngineException($"'{_session.Name}' takes no {what} '{name}' as the manifest describes it: {e.Message}", e);
        }
    }

    private static void Keep(Dictionary<string, OrtValue> values, string name, OrtValue value)
    {
        if (values.Remove(name, out var before))
            before.Dispose();
        values.Add(name, value);
    }
}
