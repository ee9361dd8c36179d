using SorsaOrt.Ir;
using SorsaOrt.Ir.Passes;

namespace SorsaOrt.GraphBuilder;

/// <summary>An exported model in the working dialect: inputs fixed, shapes inferred, constants folded, Linears found.</summary>
/// <param name="Model">The model; its weights still lie where the file has them, under the file's names.</param>
/// <param name="Builder">Appends to its graph.</param>
/// <param name="Tokens">The input of token ids, i64 [batch, sequence].</param>
/// <param name="Logits">The logits [batch, sequence, vocabulary].</param>
/// <param name="Sites">Every Linear, in graph order.</param>
public sealed record PreparedModel(Model Model, OpBuilder Builder, Value Tokens, Value Logits, IReadOnlyList<LinearSite> Sites)
{
    /// <summary>Size of the vocabulary, the last dimension of the logits.</summary>
    public long Vocabulary => Logits.Shape?[^1].Value
        ?? throw new UnsupportedGraphException($"the vocabulary of '{Logits.Name}' could not be inferred ({Logits.Type})");

    /// <summary>Transformer blocks, by the numbers in the names of the Linears; at least 1.</summary>
    public int Layers => Math.Max(1, Sites.Select(s => LayerOf(s.Module)).DefaultIfEmpty(0).Max() + 1);

    /// <summary>Names of the inputs that hold tokens, in feeding order.</summary>
    public IReadOnlyList<string> TokenInputNames =>
        [.. TokenInputs.Known.Where(name => Model.Graph.Inputs.Any(i => i.Name == name))];

    /// <summary>Brings <paramref name="model"/>, freshly read, into this form. Changes it in place.</summary>
    /// <exception cref="UnsupportedGraphException">The graph has inputs, operators or functions that training cannot serve.</exception>
    public static PreparedModel From(Model model)
    {
        var graph = model.Graph;
        if (model.FunctionNames.Count > 0 && graph.Nodes.FirstOrDefault(n => model.FunctionNames.Contains($"{n.Domain}::{n.OpType}")) is { } call)
            throw new UnsupportedGraphException($"node '{call.Name}' calls the model-local function {call.Domain}::{call.OpType}; "
                + "export the model with functions inlined");
        OperatorInputs.Check(graph);
        ToWorkingOpset.Run(model);
        ConstantNodesToInitializers.Run(graph);
        var op = new OpBuilder(graph);
        var declared = TokenInputs.Fix(graph, op).ElementType;
        graph.RemoveUnused();
        // Types that contradict each other are seen before all of them become float32.
        if (graph.Initializers.Any(i => ComputeInFloat32.IsNarrow(i.Constant!.ElementType)))
        {
            graph.SortTopologically();
            ShapeInference.Infer(graph);
        }
        ComputeInFloat32.Run(graph);
        var refused = OpenFusedOps.Run(graph);
        Simplify.Run(model);
        GatherStoredRows.Run(graph);
        PackedProducts.Run(graph, op, LinearSites.Products(graph).Select(p => p.Node));
        graph.RemoveUnused();
        graph.SortTopologically();
        var logits = graph.Outputs[0];
        if (declared != ElementType.Undefined && declared.IsFloat() != logits.ElementType.IsFloat())
            throw new ModelFormatException($"the output '{logits.Name}' is declared {declared.ShortName()}, but its node computes {logits.ElementType.ShortName()}. Check the model or export it again.");
        var sites = LinearSites.Find(graph);
        UnsupportedNodes.Refuse(graph, logits, sites, refused);
        return new PreparedModel(model, op, graph.Inputs.First(i => i.Name == TokenInputs.Known[0]), logits, sites);
    }

    private static int LayerOf(string module)
    {
        var parts = module.Split('.');
        var at = Array.IndexOf(parts, "layers");
        return at >= 0 && at + 1 < parts.Length && int.TryParse(parts[at + 1], out var layer) ? layer : 0;
    }
}
