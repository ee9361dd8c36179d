using SorsaOrt.GraphBuilder.Memory;
using SorsaOrt.Ir;
using Xunit;

namespace SorsaOrt.GraphBuilder.Tests.Memory;

/// <summary>What the plan knows of ONNX Runtime's memory: which values share, how long a buffer is held, what the arena leaves unused. MemoryPlanTests compare the whole with real runs.</summary>
public sealed class ActivationMemoryTests
{
    private const long Megabyte = 1 << 20;

    /// <summary>A kernel of arithmetic does not compute in place, but the one after it gets the memory of its input's input.</summary>
    [Fact]
    public void AChainOfArithmetic_TakesTwoBuffers()
    {
        var (graph, op, x) = Begin();
        for (var i = 0; i < 6; i++)
            x = op.Unary("Exp", x);
        graph.AddOutput(op.ReduceSum(x, keepDims: false));
        Assert.Equal(2 * Megabyte, Peak(graph));
    }

    [Fact]
    public void ASoftmax_LiesWhereItsInputLay()
    {
        var (graph, op, x) = Begin();
        graph.AddOutput(op.ReduceSum(op.Emit("Softmax", [op.Unary("Exp", x)], NodeAttribute.Of("axis", -1)), keepDims: false));
        Assert.Equal(Megabyte, Peak(graph));
    }

    /// <summary>A dead value's memory is kept for a later one of the same dimensions; of other dimensions, were they as long, it is given back.</summary>
    [Theory]
    [InlineData("batch", 3)]
    [InlineData("sequence", 2)]
    public void MemoryOfADeadValue_WaitsForALaterOneOfTheSameDimensions(string later, int megabytes)
    {
        var (graph, op, x) = Begin();
        var other = graph.AddInput("other", new TensorType(ElementType.Float32, [Dim.Symbol("labels")]));
        var last = graph.AddInput("last", new TensorType(ElementType.Float32, [Dim.Symbol(later)]));
        var sum = op.ReduceSum(op.Unary("Exp", x), keepDims: false);
        var between = op.ReduceSum(op.Unary("Exp", op.Add(other, sum)), keepDims: false);
        graph.AddOutput(op.ReduceSum(op.Add(last, between), keepDims: false));
        Assert.Equal(megabytes * Megabyte, Peak(graph));
    }

    [Fact]
    public void TheArena_SplitsOnlyWhatIsTwiceAsLarge_AndJoinsFreeNeighbours()
    {
        const long K = 1024;
        var arena = new Arena();
        arena.Free(arena.Allocate(1024 * K));
        var (first, second) = (arena.Allocate(400 * K), arena.Allocate(300 * K));
        Assert.Equal(1024 * K, arena.TouchedBytes);
        arena.Free(first);
        arena.Free(second);
        var whole = arena.Allocate(600 * K); // takes the megabyte and leaves 424 KB of it idle
        arena.Allocate(300 * K);
        Assert.Equal((1024 + 300) * K, arena.TouchedBytes);
        arena.Free(whole);
        arena.Allocate(1024 * K);
        Assert.Equal((1024 + 300) * K, arena.TouchedBytes);
    }

    // x of as many floats as a megabyte holds, as every symbol here has.
    private static (Graph, OpBuilder, Value) Begin()
    {
        var graph = new Graph("g");
        return (graph, new OpBuilder(graph), graph.AddInput("x", new TensorType(ElementType.Float32, [Dim.Symbol("batch")])));
    }

    // Without the few bytes of scalars.
    private static long Peak(Graph graph)
    {
        ShapeInference.Infer(graph);
        const long Floats = Megabyte / sizeof(float);
        var memory = ActivationMemory.Of(graph, new BatchLengths(Floats, Floats, Floats));
        Assert.Equal(0, memory.UnknownValues);
        Assert.True(memory.ResidentBytes >= memory.PeakBytes);
        return memory.PeakBytes / Megabyte * Megabyte;
    }
}
