using SorsaOrt.Ir;

namespace SorsaOrt.Autodiff.Tests;

/// <summary>Compares gradients with numbers that do not come from the rules.</summary>
internal static class GradientCheck
{
    private const double Step = 1e-5;

    /// <summary>Checks a function in float64 against central differences: every entry, and one random direction.</summary>
    /// <returns>The worst relative error.</returns>
    public static double Vjp(Func<TestGraph, Value> build, bool symbolic = false, long opset = OpBuilder.WorkingOpset)
    {
        var (gradients, v, test) = Gradients(build, ElementType.Float64, symbolic, opset);
        var forward = new TestGraph(ElementType.Float64, symbolic);
        using var session = new Session(forward.Op.Graph, [build(forward)], opset);
        double Objective() => Dot(session.Run(test.Feeds)[0], v);

        var (worst, random) = (0.0, new Random(5));
        var (along, directional, scale) = (new List<double[]>(), 0.0, 0.0);
        foreach (var (input, gradient) in test.Wanted.Zip(gradients))
        {
            var values = (double[])test.Feeds[input.Name].Values;
            Assert.Equal(values.Length, gradient.Length);
            var differences = new double[values.Length];
            for (var i = 0; i < values.Length; i++)
                differences[i] = Difference(h => Moved(values, i, h, Objective));
            worst = Math.Max(worst, RelativeError(gradient, differences));
            var direction = Array.ConvertAll(values, _ => 2 * random.NextDouble() - 1);
            along.Add(direction);
            directional += Dot(gradient, direction);
            scale += gradient.Zip(direction).Sum(p => Math.Abs(p.First * p.Second));
        }
        var difference = Difference(h =>
        {
            Move(test, along, h);
            var result = Objective();
            Move(test, along, -h);
            return result;
        });
        return Math.Max(worst, Math.Abs(directional - difference) / Math.Max(scale, 1e-3));
    }

    /// <summary>Compares two forms of one function in float32, the second made of operators that are checked in float64.</summary>
    /// <returns>The worst relative error of a gradient.</returns>
    public static double SameGradients(Func<TestGraph, Value> build, Func<TestGraph, Value> composed, long opset = OpBuilder.WorkingOpset)
    {
        var (actual, _, _) = Gradients(build, ElementType.Float32, false, opset);
        var (expected, _, _) = Gradients(composed, ElementType.Float32, false, OpBuilder.WorkingOpset);
        return actual.Zip(expected).Max(p => RelativeError(p.First, p.Second));
    }

    /// <summary>The gradients of all wanted inputs for a random gradient v of the output.</summary>
    public static (double[][] Gradients, double[] V, TestGraph Test) Gradients(
        Func<TestGraph, Value> build, ElementType type, bool symbolic, long opset = OpBuilder.WorkingOpset)
    {
        var test = new TestGraph(type, symbolic);
        var y = build(test);
        Assert.NotNull(y.Shape);
        var numbers = new TestGraph(type);
        var shape = build(numbers).Type?.StaticShape ?? throw new InvalidOperationException("The shape of the output does not follow from the inputs.");
        var random = new Random(29);
        var v = new double[shape.Aggregate(1L, (p, n) => p * n)];
        for (var i = 0; i < v.Length; i++)
            v[i] = 0.5 + random.NextDouble();
        var seed = test.Op.Graph.AddInput("dY", y.Type);
        test.Feeds["dY"] = (v, shape);
        var result = ReverseMode.Differentiate(test.Op.Graph, y, test.Wanted, seed);
        Assert.Equal(test.Wanted, result.Gradients.Select(g => g.Parameter));
        Assert.All(result.Gradients, g => Assert.Equal(g.Parameter.Type, g.Gradient.Type));
        using var session = new Session(test.Op.Graph, result.Gradients.Select(g => g.Gradient), opset);
        return (session.Run(test.Feeds), v, test);
    }

    private static double Difference(Func<double, double> f) => (f(Step) - f(-Step)) / (2 * Step);

    private static double Moved(double[] values, int i, double h, Func<double> objective)
    {
        var before = values[i];
        values[i] = before + h;
        var result = objective();
        values[i] = before;
        return result;
    }

    private static void Move(TestGraph test, List<double[]> directions, double h)
    {
        foreach (var (input, direction) in test.Wanted.Zip(directions))
        {
            var values = (double[])test.Feeds[input.Name].Values;
            for (var i = 0; i < values.Length; i++)
                values[i] += h * direction[i];
        }
    }

    private static double RelativeError(double[] actual, double[] expected)
    {
        var largest = Math.Max(expected.Max(Math.Abs), 1e-3);
        return actual.Zip(expected).Max(p => double.IsFinite(p.First) ? Math.Abs(p.First - p.Second) / largest : double.PositiveInfinity);
    }

    private static double Dot(double[] a, double[] b) => a.Zip(b).Sum(p => p.First * p.Second);
}
