using SorsaOrt.Adapters;
using SorsaOrt.Ir;

namespace SorsaOrt.GraphBuilder;

/// <summary>Dropout on the input of every adapter path, as LoRA has it; for the training graph alone.</summary>
/// <remarks>
/// x·Aᵀ becomes (x ∘ m)·Aᵀ / (1 − p), m being 0 with probability p, so its expectation stays. ONNX Runtime's random operators keep a state of
/// their own from run to run, which no checkpoint holds; here m follows from one random odd number per token, the input <c>dropout_keys</c>:
/// an element is dropped where key·salt·column, wrapped around 2⁶⁴, is below the p-quantile. Salt (one per product: adapters whose A are stacked drop the same elements) and column (one per
/// input feature) are random odd constants. Source: multiply-shift hashing, Dietzfelbinger et al., J. Algorithms 25 (1997) 19.
/// </remarks>
public static class AdapterDropout
{
    /// <summary>Random odd numbers, i64 [batch, sequence].</summary>
    public const string Keys = "dropout_keys";

    /// <summary>Inserts it at every site that has an adapter. The graph has its loss, not yet its gradients.</summary>
    /// <param name="graph">The graph; its input <see cref="LossAndGradients.LabelPositions"/> tells the rows of a path that only labels need.</param>
    /// <param name="op">Appends to it.</param>
    /// <param name="sites">The adapters.</param>
    /// <param name="probability">p, above 0 and below 1.</param>
    /// <param name="seed">Seed of the constants.</param>
    public static void Insert(Graph graph, OpBuilder op, IEnumerable<SiteParameters> sites, double probability, long seed)
    {
        var random = new Xoshiro256(unchecked((ulong)seed));
        op.Scope = "sorsa/dropout";
        var positions = graph.Inputs.First(i => i.Name == LossAndGradients.LabelPositions);
        var ofTokens = op.Reshape(graph.AddInput(Keys, new TensorType(ElementType.Int64, [TokenInputs.Batch, TokenInputs.Sequence])), -1, 1);
        var ofLabels = op.Gather(ofTokens, positions);
        var threshold = op.Integers(Quantile(probability));
        var columns = new Dictionary<int, Value>();
        var done = new HashSet<Node>();
        foreach (var site in sites)
        {
            var products = Products(site.A!).Where(done.Add).ToArray();
            if (products.Length == 0)
                continue;
            if (!columns.TryGetValue(site.Site.In, out var column))
                columns[site.Site.In] = column = op.Integers([.. Enumerable.Range(0, site.Site.In).Select(_ => Odd(random))]);
            var salt = op.Integers(Odd(random));
            foreach (var product in products)
            {
                var x = product.Inputs[0]!;
                var keys = Dim.Same(x.Shape![0], positions.Shape![0]) ? ofLabels : ofTokens;
                var isDropped = op.Emit("Less", [op.Mul(op.Mul(keys, salt), column), threshold]);
                product.SetInput(0, op.Where(isDropped, op.Scalar(0, x), x));
                product.Attributes["alpha"] = NodeAttribute.Of("alpha", (float)(product.Float("alpha", 1) / (1 - probability)));
            }
        }
        graph.RemoveUnused();
        graph.SortTopologically();
    }

    // x·Aᵀ, A stacked with others or alone.
    private static IEnumerable<Node> Products(Value a) => a.Uses.SelectMany(u => u.Node.Is("Concat") ? u.Node.Output.Uses.Select(stacked => stacked.Node) : [u.Node]);

    private static long Odd(Xoshiro256 random) => unchecked((long)(random.NextUInt64() | 1));

    // The number that a share p of all 64-bit integers lies below.
    private static long Quantile(double probability) => (long)((probability - 0.5) * Math.Pow(2, 64));
}
