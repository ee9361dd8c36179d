using SorsaOrt.Ir;

namespace SorsaOrt.GraphBuilder;

/// <summary>Makes sums with a matrix product the addend of that product: a + x·y becomes Gemm(x, y, a).</summary>
/// <remarks>
/// Saves a pass over the result and its memory. Needs shapes; applies where the product has no addend yet, nothing else reads
/// it, and both terms have the same shape.
/// </remarks>
public static class GemmAddends
{
    /// <summary>Rewrites the graph and returns how many sums went away.</summary>
    public static int Run(Graph graph)
    {
        var gone = new HashSet<Node>();
        foreach (var add in graph.Nodes.Where(n => n.Is("Add")).ToArray())
        {
            // The later of two products takes the other as its addend: it is the one that can wait.
            for (var i = 1; i >= 0; i--)
            {
                var (product, addend) = (add.Inputs[i]!, add.Inputs[1 - i]!);
                if (product.Producer is not { } gemm || !gemm.Is("Gemm") || gemm.InputOrNull(2) is not null || product.Uses.Count != 1
                    || gone.Contains(gemm) || !product.HasShapeOf(addend) || graph.Outputs.Contains(product) || ReferenceEquals(product, addend))
                    continue;
                Fold(graph, add, gemm, addend);
                gone.Add(add);
                break;
            }
        }
        graph.RemoveNodes(gone);
        graph.SortTopologically();
        return gone.Count;
    }

    private static void Fold(Graph graph, Node add, Node gemm, Value addend)
    {
        var (sum, product) = (add.Output, gemm.Output);
        gemm.SetInput(2, addend);
        var name = sum.Name;
        sum.ReplaceAllUsesWith(product, graph);
        graph.Rename(sum, graph.FreeName(name + "/folded"));
        graph.Rename(product, name);
    }
}
