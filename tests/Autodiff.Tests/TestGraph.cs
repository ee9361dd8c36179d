using SorsaOrt.Ir;

namespace SorsaOrt.Autodiff.Tests;

/// <summary>A forward graph under test: float inputs with random values, integer inputs with given ones.</summary>
/// <remarks>With <paramref name="symbolic"/>, every length but 1 is declared as a symbol, the same for equal lengths: rules must then work from run-time shapes.</remarks>
internal sealed class TestGraph(ElementType type, bool symbolic = false)
{
    private readonly Random _random = new(17);

    /// <summary>Builder of the forward nodes.</summary>
    public OpBuilder Op { get; } = new(new Graph("test")) { Scope = "forward" };

    /// <summary>The float inputs, all of which are differentiated.</summary>
    public List<Value> Wanted { get; } = [];

    /// <summary>Values and shape of every input.</summary>
    public Dictionary<string, (Array Values, long[] Shape)> Feeds { get; } = [];

    /// <summary>Type of the float values.</summary>
    public ElementType Type => type;

    /// <summary>A differentiated input, uniform in [low, high].</summary>
    public Value Input(string name, long[] shape, double low = -1, double high = 1)
    {
        var values = new double[shape.Aggregate(1L, (p, n) => p * n)];
        for (var i = 0; i < values.Length; i++)
            values[i] = low + (high - low) * _random.NextDouble();
        return Input(name, shape, values);
    }

    /// <summary>A differentiated input with given values.</summary>
    public Value Input(string name, long[] shape, double[] values)
    {
        var value = Frozen(name, shape, values);
        Wanted.Add(value);
        return value;
    }

    /// <summary>An input that is not differentiated.</summary>
    public Value Frozen(string name, long[] shape, double[] values)
    {
        Feeds[name] = (values, shape);
        return Op.Graph.AddInput(name, new TensorType(type, Declared(shape)));
    }

    /// <summary>An integer input, known only at run time.</summary>
    public Value Integers(string name, long[] shape, params long[] values)
    {
        Feeds[name] = (values, shape);
        return Op.Graph.AddInput(name, new TensorType(ElementType.Int64, Declared(shape)));
    }

    /// <summary>A random constant (a frozen weight).</summary>
    public Value Constant(string name, params long[] shape)
    {
        var values = new double[shape.Aggregate(1L, (p, n) => p * n)];
        for (var i = 0; i < values.Length; i++)
            values[i] = 2 * _random.NextDouble() - 1;
        return Op.Graph.AddInitializer(name, type == ElementType.Float64 ? InMemoryTensor.Of(values, shape)
            : InMemoryTensor.Of(Array.ConvertAll(values, v => (float)v), shape));
    }

    private Dim[] Declared(long[] shape) => [.. shape.Select(n => symbolic && n != 1 ? Dim.Symbol($"n{n}") : Dim.Of(n))];
}
