using Microsoft.ML.OnnxRuntime;
using SorsaOrt.Ir;
using SorsaOrt.Ir.Serialization;

namespace SorsaOrt.Autodiff.Tests;

/// <summary>Runs a graph on ORT's CPU provider, giving every output as 64-bit floats.</summary>
internal sealed class Session : IDisposable
{
    private readonly InferenceSession _session;
    private readonly RunOptions _options = new();

    public Session(Graph graph, IEnumerable<Value> outputs, long opset = OpBuilder.WorkingOpset)
    {
        graph.RemoveOutputs(_ => true);
        foreach (var output in outputs)
            graph.AddOutput(output);
        var model = new Model(graph) { IrVersion = 10 };
        model.Opsets[""] = opset;
        model.Opsets["com.microsoft"] = 1;
        using var options = new SessionOptions
        {
            IntraOpNumThreads = 1,
            LogSeverityLevel = OrtLoggingLevel.ORT_LOGGING_LEVEL_ERROR,
            GraphOptimizationLevel = GraphOptimizationLevel.ORT_ENABLE_BASIC,
        };
        _session = new InferenceSession(OnnxWriter.ToBytes(model), options);
    }

    /// <summary>One run; float feeds are given as double[] and narrowed where the input is float32.</summary>
    public double[][] Run(IReadOnlyDictionary<string, (Array Values, long[] Shape)> feeds)
    {
        var inputs = _session.InputMetadata.Keys.ToDictionary(n => n, n => Tensor(feeds[n].Values, feeds[n].Shape, _session.InputMetadata[n].ElementType));
        try
        {
            using var results = _session.Run(_options, inputs, _session.OutputNames);
            return [.. results.Select(Read)];
        }
        finally
        {
            foreach (var input in inputs.Values)
                input.Dispose();
        }
    }

    public void Dispose()
    {
        _session.Dispose();
        _options.Dispose();
    }

    private static OrtValue Tensor(Array values, long[] shape, Type type) => values switch
    {
        long[] integers => OrtValue.CreateTensorValueFromMemory(integers, shape),
        double[] floats when type == typeof(double) => OrtValue.CreateTensorValueFromMemory(floats, shape),
        double[] floats => OrtValue.CreateTensorValueFromMemory(Array.ConvertAll(floats, v => (float)v), shape),
        _ => throw new InvalidOperationException($"No feed of {values.GetType().Name}."),
    };

    private static double[] Read(OrtValue value) => value.GetTensorTypeAndShape().ElementDataType switch
    {
        Microsoft.ML.OnnxRuntime.Tensors.TensorElementType.Double => value.GetTensorDataAsSpan<double>().ToArray(),
        Microsoft.ML.OnnxRuntime.Tensors.TensorElementType.Float => Array.ConvertAll(value.GetTensorDataAsSpan<float>().ToArray(), v => (double)v),
        var other => throw new InvalidOperationException($"An output of {other}."),
    };
}
