using SorsaOrt.Artifacts;
using SorsaOrt.Ir;

namespace SorsaOrt.GraphBuilder.Memory;

/// <summary>What training takes, told before any run.</summary>
/// <param name="Lengths">The micro-batch it is told for.</param>
/// <param name="Runtime">Program, .NET and ONNX Runtime with its description of the graphs: measured, see <see cref="Of"/>.</param>
/// <param name="FrozenWeights">Initializers of the training graph, mapped from frozen.bin: the system may drop their pages.</param>
/// <param name="PackedWeights">What their packed copies take beyond them, where <see cref="WeightPacking"/> keeps such; originals of packed weights leave memory.</param>
/// <param name="Adapters">Trained parameters.</param>
/// <param name="Gradients">Their gradients.</param>
/// <param name="Moments">Both moments of AdamW.</param>
/// <param name="OptimizerWorkspace">Intermediate values of an optimizer step, which begins when the activations are gone.</param>
/// <param name="Activations">Intermediate values of a training step.</param>
public sealed record MemoryPlan(
    BatchLengths Lengths, long Runtime, long FrozenWeights, long PackedWeights, long Adapters, long Gradients, long Moments, long OptimizerWorkspace, ActivationMemory Activations)
{
    // Resident memory of `sorsa train` on a model of a few KB, and what each node of the training graph adds to it (Linux x64, ONNX Runtime 1.31.1).
    private const long RuntimeBytes = 112L << 20;
    private const long RuntimeBytesPerNode = 9L << 10;

    // AdamW and the norm run over slices of 2^18 elements, the regulariser over a matrix at a time.
    private const long OptimizerSliceBytes = 6L * sizeof(float) << 18;

    /// <summary>Peak resident memory.</summary>
    public long Total => Runtime + FrozenWeights + PackedWeights + Adapters + Gradients + Moments + Math.Max(OptimizerWorkspace, Activations.ResidentBytes);

    /// <summary>The plan of a training graph.</summary>
    /// <param name="training">The graph of training_model.onnx, with shapes.</param>
    /// <param name="parameterElements">Elements of each trained parameter.</param>
    /// <param name="lengths">The micro-batch.</param>
    public static MemoryPlan Of(Graph training, IReadOnlyList<long> parameterElements, BatchLengths lengths)
    {
        var frozen = training.Initializers.Sum(v => v.Constant!.ByteLength);
        var trained = sizeof(float) * parameterElements.Sum();
        return new MemoryPlan(
            lengths,
            RuntimeBytes + RuntimeBytesPerNode * training.Nodes.Count,
            frozen,
            WeightPacking.IsDefault(frozen) ? Packed(training) : 0,
            trained,
            trained,
            2 * trained,
            Math.Max(OptimizerSliceBytes, 2 * sizeof(float) * parameterElements.DefaultIfEmpty(0).Max()),
            ActivationMemory.Of(training, lengths));
    }

    // A copy for each product; the original stays only where something else reads it, or an input may replace it: then nothing is packed.
    private static long Packed(Graph training)
    {
        var inputs = training.Inputs.ToHashSet();
        return training.Initializers.Where(v => v.ElementType == ElementType.Float32 && v.Constant!.Shape.Count == 2 && !inputs.Contains(v)).Sum(v =>
        {
            var products = v.Uses.Count(u => u.InputIndex == 1 && u.Node.OpType is "Gemm" or "MatMul");
            return Math.Max(0, products == v.Uses.Count ? products - 1 : products) * v.Constant!.ByteLength;
        });
    }
}
