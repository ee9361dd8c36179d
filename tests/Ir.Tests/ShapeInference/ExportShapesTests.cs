using System.Globalization;
using SorsaOrt.TestSupport;
using Xunit;

namespace SorsaOrt.Ir.Tests;

/// <summary>Every inferred type, shape and content of every export is what ONNX Runtime really computes.</summary>
public sealed class ExportShapesTests(ITestOutputHelper output)
{
    /// <summary>Families in which no shape on the floating-point path may stay unknown.</summary>
    private static readonly HashSet<string> Complete = ["fixture", "nano-llama/optimum-no-past", "nano-llama/optimum-with-past",
        "nano-llama/torchscript-opset14", "nano-llama/torchscript-opset17", "nano-llama/dynamo-opset18", "nano-llama/ort-extended"];

    public static TheoryData<string, int, int> Cases()
    {
        var cases = new TheoryData<string, int, int>();
        foreach (var family in ExportedModel.Families)
        {
            cases.Add(family, 2, 13);
            cases.Add(family, 3, 7);
        }
        return cases;
    }

    [Theory]
    [MemberData(nameof(Cases))]
    public void InferredTypes_AreThoseOfARun(string family, int batch, int sequence) =>
        Check(new ExportedModel(family, batch, sequence), emptyCache: true, family);

    [Fact]
    public void InferredTypes_WithASymbolicPastAreThoseOfARun()
    {
        Assert.SkipWhen(Paths.SharedOrNull is null, "../shared is absent.");
        Check(new ExportedModel("nano-llama/optimum-with-past", 2, 5, past: 4), emptyCache: false, "");
    }

    private void Check(ExportedModel export, bool emptyCache, string family)
    {
        using var model = export.Read(emptyCache);
        foreach (var declared in model.Graph.Nodes.SelectMany(n => n.Outputs).OfType<Value>())
            declared.Type = null;   // what the file says of intermediate values would hide what inference misses
        ShapeInference.Infer(model.Graph);
        using var running = export.Read();
        var names = AskForEverything(running.Graph, model.Graph);
        var results = OrtRun.Run(running, export.Feeds(running), names, optimize: false);

        var values = model.Graph.Nodes.SelectMany(n => n.Outputs).OfType<Value>().Where(v => results.ContainsKey(v.Name)).ToList();
        Assert.Equal([], values.SelectMany(v => Differences(v, results[v.Name], export.Length)));
        var unknown = values.Where(v => v.Shape?.All(d => d.IsKnown) != true).ToList();
        output.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{values.Count} values, {unknown.Count} with unknown lengths, "
            + $"{values.Count(v => v.KnownElements is not null)} with known contents: {string.Join(" | ", unknown.Take(5).Select(v => v.Producer))}"));
        Assert.Equal(names.Count, values.Count);
        Assert.True(unknown.Count * 20 <= values.Count, $"{unknown.Count} of {values.Count} shapes are not known, first {unknown.FirstOrDefault()?.Producer}");
        if (Complete.Contains(family))
            Assert.DoesNotContain(unknown, v => v.ElementType.IsFloat());
    }

    /// <summary>Makes every value an output; the runtime wants at least the element type stated.</summary>
    private static List<string> AskForEverything(Graph graph, Graph typed)
    {
        var types = typed.Nodes.SelectMany(n => n.Outputs).OfType<Value>().ToDictionary(v => v.Name, v => v.ElementType);
        var present = graph.Outputs.ToHashSet();
        var names = new List<string>();
        foreach (var value in graph.Nodes.SelectMany(n => n.Outputs).OfType<Value>())
        {
            if (value.Name.Length == 0)
                continue;
            names.Add(value.Name);
            if (present.Contains(value))
                continue;
            value.Type = new TensorType(types[value.Name], null);
            graph.AddOutput(value);
        }
        return names;
    }

    private static IEnumerable<string> Differences(Value value, OrtTensor real, Func<string, Dim?> length)
    {
        if (value.ElementType != real.Type)
            yield return $"{value.Producer} is {real.Type}";
        if (value.Shape is { } shape && (shape.Count != real.Shape.Length || shape.Where((d, i) => Differs(d, real.Shape[i], length)).Any()))
            yield return $"{value.Producer} is [{string.Join(',', real.Shape)}]";
        if (value.KnownElements is not { } known)
            yield break;
        var data = real.Data.Cast<object>().Select(e => Convert.ToInt64(e, CultureInfo.InvariantCulture)).ToArray();
        if (known.Count != data.Length || known.Where((d, i) => Differs(d, data[i], length)).Any())
            yield return $"{value.Producer} = ({string.Join(',', known)}) holds ({string.Join(',', data)})";
    }

    private static bool Differs(Dim inferred, long real, Func<string, Dim?> length) =>
        inferred.IsKnown && inferred.Substitute(length) is var dim && !dim.Is(real);
}
