using SorsaOrt.Ir.Passes;
using SorsaOrt.TestSupport;
using Xunit;

namespace SorsaOrt.Ir.Tests;

/// <summary>Passes leave every output of every export as it was.</summary>
public sealed class ExportPassesTests(ITestOutputHelper output)
{
    private static readonly Dictionary<string, Func<Model, int>> Passes = new()
    {
        ["ToWorkingOpset"] = ToWorkingOpset.Run,
        ["ConstantNodesToInitializers"] = m => ConstantNodesToInitializers.Run(m.Graph),
        ["FoldShapes"] = m => FoldShapes.Run(m.Graph),
        ["ConstantTargets"] = m => ConstantTargets.Run(m.Graph),
        ["EqualContents"] = m => EqualContents.Run(m.Graph),
        ["RemoveNoOps"] = m => RemoveNoOps.Run(m.Graph),
        ["CommonSubexpressions"] = m => CommonSubexpressions.Run(m.Graph),
        ["FuseRmsNorm"] = m => FuseRmsNorm.Run(m.Graph),
        ["SlicesToSplits"] = m => SlicesToSplits.Run(m.Graph),
        ["PortableOperators"] = m => PortableOperators.Run(m.Graph),
        ["Simplify"] = Simplify.Run,
    };

    /// <summary>RMSNorms written out in the families: two in each of five (or four) layers and the final one.</summary>
    private static readonly Dictionary<string, int> Norms = new()
    {
        ["fixture"] = 11,
        ["nano-llama/optimum-no-past"] = 11,
        ["nano-llama/optimum-with-past"] = 11,
        ["nano-llama/torchscript-opset14"] = 11,
        ["nano-llama/torchscript-opset17"] = 11,
        ["nano-llama/dynamo-opset18"] = 11,
        ["nano-llama/dynamo-opset25-stripped"] = 11,
    };

    public static TheoryData<string, bool> Cases()
    {
        var cases = new TheoryData<string, bool>();
        foreach (var family in ExportedModel.Families)
        {
            cases.Add(family, true);
            if (family.Contains("with-past", StringComparison.Ordinal))
                cases.Add(family, false);
        }
        return cases;
    }

    public static TheoryData<string> PassNames => [.. Passes.Keys];

    [Theory]
    [MemberData(nameof(Cases))]
    public void Simplify_KeepsEveryOutput(string family, bool emptyCache)
    {
        var export = new ExportedModel(family, 2, 13, past: emptyCache ? 0 : 4);
        using var before = export.Read();
        using var after = export.Read(emptyCache);
        var opset = before.Opset;
        Simplify.Run(after);
        var fused = after.Graph.Nodes.Count(n => n.Is("SimplifiedLayerNormalization"));
        var kinds = after.Graph.Nodes.CountBy(n => n.OpType).OrderByDescending(c => c.Value).Select(c => $"{c.Value} {c.Key}");
        output.WriteLine($"{family}: {before.Graph.Nodes.Count} -> {after.Graph.Nodes.Count} nodes, {fused} norms: {string.Join(' ', kinds)}");
        if (Norms.TryGetValue(family, out var norms))
            Assert.Equal(norms, fused);
        Assert.DoesNotContain(after.Graph.Nodes, n => n.OpType is "Constant" or "Identity");
        // Operators that only newer opsets have are still there: run it as what it was.
        after.Opsets[""] = Math.Max(opset, 21);
        AssertSameOutputs(export, before, after);
        Assert.Equal(0, RemoveNoOps.Run(after.Graph) + CommonSubexpressions.Run(after.Graph));
    }

    [Theory]
    [MemberData(nameof(PassNames))]
    public void EachPassAlone_KeepsEveryOutput(string pass)
    {
        var export = new ExportedModel("fixture", 3, 7);
        using var before = export.Read();
        using var after = export.Read();
        ShapeInference.Infer(after.Graph);
        var changed = Passes[pass](after);
        output.WriteLine($"{pass}: {changed} changes, {before.Graph.Nodes.Count} -> {after.Graph.Nodes.Count} nodes");
        Assert.True(changed > 0 || pass is "ToWorkingOpset" or "SlicesToSplits");   // opset 18 knows all of the new forms; bounds are constant only after FoldShapes
        AssertSameOutputs(export, before, after);
    }

    [Fact]
    public void Simplify_GivesTheSameGraphEachTime()
    {
        using var first = new ExportedModel("fixture", 1, 1).Read();
        using var second = new ExportedModel("fixture", 1, 1).Read();
        Simplify.Run(first);
        Simplify.Run(second);
        Assert.Equal(first.Graph.ToString(), second.Graph.ToString());
    }

    private static void AssertSameOutputs(ExportedModel export, Model before, Model after)
    {
        Assert.Equal(before.Graph.Outputs.Select(o => o.Name), after.Graph.Outputs.Select(o => o.Name));
        Assert.Equal(before.Graph.Inputs.Select(o => o.Name), after.Graph.Inputs.Select(o => o.Name));
        var feeds = export.Feeds(before);
        var expected = OrtRun.Run(before, feeds);
        var actual = OrtRun.Run(after, feeds);
        foreach (var (name, tensor) in expected)
        {
            Assert.Equal(tensor.Shape, actual[name].Shape);
            var (x, y) = (Floats(tensor), Floats(actual[name]));
            var scale = Math.Max(1, x.Max(Math.Abs));
            var tolerance = (tensor.Type == ElementType.Float16 || before.Graph.Initializers.Any(v => v.ElementType == ElementType.Float16) ? 5e-3 : 1e-5) * scale;
            var worst = x.Zip(y).Max(p => Math.Abs(p.First - p.Second));
            Assert.True(worst <= tolerance, $"{name} differs by {worst}, scale {scale}");
        }
    }

    private static double[] Floats(OrtTensor tensor) => tensor.Data switch
    {
        float[] f => Array.ConvertAll(f, v => (double)v),
        Half[] h => Array.ConvertAll(h, v => (double)v),
        _ => throw new NotSupportedException(tensor.Type.ToString()),
    };
}
