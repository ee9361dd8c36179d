using SorsaOrt.Artifacts;
using SorsaOrt.GraphBuilder.Memory;
using SorsaOrt.Ir;
using SorsaOrt.Ir.Serialization;
using SorsaOrt.TestSupport;
using Xunit;

namespace SorsaOrt.GraphBuilder.Tests;

/// <summary>Every node of every emitted graph has a kernel of CUDA and of DirectML, so that no step leaves the device; what is known not to have one is listed here.</summary>
public sealed class KernelTableTests(ITestOutputHelper output)
{
    private static readonly KernelTable Cuda = new("cuda", "bf16,bool,f64,f32,f16,i16,i32,i64,i8,u16,u32,u64,u8");
    private static readonly KernelTable DirectMl = new("directml", "bool,f64,f32,f16,i16,i32,i64,i8,u16,u32,u64,u8");

    // What it costs a step: N labels, V words, T tokens, h hidden. docs/devices.md has the same list.
    private static readonly Dictionary<string, string> Known = new()
    {
        ["directml: ScatterElements of version 18: the kernel is of 16"] = "the gradient of the logits [N, V] goes to the CPU and back",
        ["directml: ScatterND of version 18: the kernel is of 16"] = "gradients of the hidden states that labels were gathered from, two or three of [T, h], go to the CPU and back",
        ["directml: Cast with bf16 as input 0"] = "every bfloat16 weight is widened on the CPU and copied: use a float16 or float32 model there",
        ["directml: Gather with bf16 as input 0"] = "the rows of a bfloat16 embedding [T, h] are taken on the CPU",
        ["directml: com.microsoft::GatherBlockQuantized is in no table"] = "the rows of a quantised embedding [T, h] are taken on the CPU",
    };

    private readonly HashSet<string> _told = [];

    public static TheoryData<string> Families => [.. Exports.Float32, .. Exports.Narrow, .. Exports.Quantized];

    /// <summary>All methods, with and without recomputation, the residual in the element type of the model and in float16.</summary>
    [Theory]
    [MemberData(nameof(Families))]
    public void TrainingGraphs_StayOnTheDevice(string family) => CheckAll(family, Enum.GetValues<AdapterMethod>(), ElementType.Float32, [Cuda, DirectMl]);

    /// <summary>Products in 16 bits; in bfloat16 DirectML has nothing and the engine refuses it.</summary>
    [Theory]
    [MemberData(nameof(Families))]
    public void MixedTrainingGraphs_StayOnTheDevice(string family)
    {
        CheckAll(family, [AdapterMethod.Sorsa, AdapterMethod.Pissa], ElementType.Float16, [Cuda, DirectMl]);
        CheckAll(family, [AdapterMethod.Sorsa], ElementType.BFloat16, [Cuda]);
    }

    private void CheckAll(string family, AdapterMethod[] methods, ElementType compute, KernelTable[] tables)
    {
        Assert.SkipWhen(Exports.FolderOrNull(family) is null, "../shared is absent");
        foreach (var method in methods)
        {
            foreach (var recompute in Enum.GetValues<Recomputation>())
            {
                using var model = OnnxReader.Read(Exports.Model(family));
                var prepared = PreparedModel.From(model);
                var options = new BuildOptions
                {
                    ModelPath = "",
                    OutputFolder = "",
                    Rank = 2,
                    Method = method,
                    Recompute = recompute,
                    ResidualType = method == AdapterMethod.Pissa ? ElementType.Float16 : ElementType.Float32,
                    ComputeType = compute,
                };
                try
                {
                    PlannedModel.Of(prepared, options, new BatchLengths(2, 16, 16));
                }
                catch (UnsupportedGraphException e) when (recompute == Recomputation.Layer && e.Message.Contains("--recompute none", StringComparison.Ordinal))
                {
                    if (_told.Add(e.Message))
                        output.WriteLine($"{family}: {e.Message}");
                    continue;
                }
                Check(model, $"{family}, {method}, recompute {recompute}, products in {compute.ShortName()}", tables);
            }
        }
    }

    /// <summary>The files that build-artifacts writes, dropout included: also the eval graph and those of the optimizer.</summary>
    [Fact]
    public void EveryWrittenGraph_StaysOnTheDevice()
    {
        using var folder = new TemporaryFolder();
        ArtifactBuilder.Build(new BuildOptions { ModelPath = Paths.Fixture("nano-llama", "optimum-no-past.onnx"), OutputFolder = folder.At("artifacts"), Rank = 2, Dropout = 0.1, Threads = 1 });
        var graphs = Directory.GetFiles(folder.At("artifacts"), "*.onnx").Where(p => Path.GetFileName(p) != ArtifactFiles.SourceModel).ToList();
        Assert.Equal(6, graphs.Count);
        foreach (var path in graphs)
        {
            using var model = OnnxReader.Read(path);
            ShapeInference.Infer(model.Graph);
            Check(model, Path.GetFileName(path), [Cuda, DirectMl]);
        }
    }

    [Theory]
    [InlineData("Equal", "cuda: Equal of version 19: the kernel is of 13")]
    [InlineData("Exp", "directml: Exp with f64 as input 0")]
    [InlineData("Tan", "cuda: Tan is in no table")]
    public void MissingKernel_IsSeen(string opType, string expected)
    {
        var graph = new Graph("test");
        var x = graph.AddInput("x", new TensorType(ElementType.Float64, [Dim.Of(2)]));
        var y = new OpBuilder(graph).Emit(opType, opType == "Equal" ? [x, x] : [x]);
        Assert.Contains(expected, Missing(y.Producer!, [Cuda, DirectMl]));
    }

    private void Check(Model model, string where, KernelTable[] tables)
    {
        Assert.Equal(OpBuilder.WorkingOpset, model.Opsets[""]);
        var missing = model.Graph.Nodes.SelectMany(n => Missing(n, tables)).CountBy(m => m).ToList();
        foreach (var (what, count) in missing.Where(m => Known.ContainsKey(m.Key) && _told.Add(m.Key)))
            output.WriteLine($"{where}: {what}, {count} times: {Known[what]}");
        Assert.Empty(missing.Where(m => !Known.ContainsKey(m.Key)).Select(m => $"{where}: {m.Key}, {m.Value} times"));
    }

    private static IEnumerable<string> Missing(Node node, KernelTable[] tables) => from table in tables let missing = table.Missing(node) where missing is not null select $"{table.Provider}: {missing}";
}
