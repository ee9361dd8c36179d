using SorsaOrt.Ir;

namespace SorsaOrt.GraphBuilder;

/// <summary>How the weight of a Linear goes together with the embedding table.</summary>
public enum Tie
{
    /// <summary>It has nothing to do with it.</summary>
    None,

    /// <summary>One stored tensor serves both: changing it changes both.</summary>
    Shared,

    /// <summary>The same numbers are stored twice, as exporters do that transpose one of two tied weights. Training one unties them.</summary>
    EqualContents,
}

/// <summary>Finds tied embeddings: by the stored tensor, and where an exporter made two of it by their contents.</summary>
public static class TiedWeights
{
    private const int BlockRows = 64;

    /// <summary>What ties <paramref name="site"/>, a Linear of the sorted <paramref name="graph"/>, to an embedding.</summary>
    public static Tie Of(Graph graph, LinearSite site)
    {
        if (site.IsShared)
            return Tie.Shared;
        var tables = graph.Nodes.Where(n => n.Is("Gather")).Select(n => Stored(n.Inputs[0]!)).OfType<Value>().Where(v => !ReferenceEquals(v, site.Weight)).Distinct();
        return site.SliceStart is null && tables.Any(t => Equal(t.Constant!, site.Weight.Constant!)) ? Tie.EqualContents : Tie.None;
    }

    /// <summary>
    /// Makes each weight that is looked up in and multiplied, and each that more than two products read, an input with itself as the default, which ONNX Runtime
    /// does not pack.
    /// </summary>
    /// <remarks>
    /// The original of the one would stay in memory beside the packed copies; the other weights leave it once they are packed. The other is multiplied forward, again
    /// and backward where layers are recomputed to save memory, and would be packed for each.
    /// </remarks>
    public static void LeaveUnpacked(Graph graph)
    {
        foreach (var weight in graph.Initializers.Where(v => v.Constant is { Shape.Count: 2, ByteLength: >= FrozenData.SmallestExternal } && v.ElementType.IsFloat()
            && v.Uses.Count(u => u.Node.OpType is "Gemm" or "MatMul") is > 0 and var products && (products > 2 || v.Uses.Any(u => u.Node.Is("Gather")))).ToArray())
            graph.AddInput(weight);
    }

    // The stored matrix behind Transpose, Cast and Identity, or null.
    private static Value? Stored(Value value)
    {
        while (value.Producer is { Inputs: [{ } input] } node && (node.Is("Transpose") || node.Is("Cast") || node.Is("Identity")))
            value = input;
        return value.Constant is { Shape.Count: 2 } table && table.ElementType.IsFloat() ? value : null;
    }

    // Equal as they are or one the transpose of the other; a block of rows is in memory at a time.
    private static bool Equal(Tensor a, Tensor b)
    {
        if (a.ElementType != b.ElementType || a.ElementCount != b.ElementCount || a.ElementType.BitSize() % 8 != 0)
            return false;
        return a.Shape.SequenceEqual(b.Shape) && SameRows(a, b) || a.Shape[0] == b.Shape[1] && a.Shape[1] == b.Shape[0] && IsTranspose(a, b);
    }

    private static bool SameRows(Tensor a, Tensor b)
    {
        var rowBytes = a.ElementType.ByteSize(a.Shape[1]);
        for (var row = 0L; row < a.Shape[0]; row += BlockRows)
        {
            var count = checked((int)(Math.Min(BlockRows, a.Shape[0] - row) * rowBytes));
            if (!Read(a, row * rowBytes, count).AsSpan().SequenceEqual(Read(b, row * rowBytes, count)))
                return false;
        }
        return true;
    }

    // Row i of a against column i of b, 64 at a time.
    private static bool IsTranspose(Tensor a, Tensor b)
    {
        var size = checked((int)a.ElementType.ByteSize(1));
        var (rows, columns) = (a.Shape[0], checked((int)a.Shape[1]));
        for (var row = 0L; row < rows; row += BlockRows)
        {
            var count = (int)Math.Min(BlockRows, rows - row);
            var block = Read(a, row * columns * size, checked(count * columns * size));
            for (var column = 0; column < columns; column++)
            {
                var turned = Read(b, (column * rows + row) * size, count * size);
                for (var i = 0; i < count; i++)
                {
                    if (!turned.AsSpan(i * size, size).SequenceEqual(block.AsSpan((i * columns + column) * size, size)))
                        return false;
                }
            }
        }
        return true;
    }

    private static byte[] Read(Tensor tensor, long offset, int count)
    {
        var bytes = new byte[count];
        tensor.CopyTo(offset, bytes);
        return bytes;
    }
}
