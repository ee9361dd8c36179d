using SorsaOrt.Autodiff.Rules;
using SorsaOrt.Ir;

namespace SorsaOrt.Autodiff;

/// <summary>Gradients of a node's inputs, in order of the inputs; null where <see cref="GradientContext.Wants"/> is false.</summary>
/// <remarks>A gradient may still have the broadcast shape: <see cref="ReverseMode"/> sums it to the input's.</remarks>
/// <param name="g">Builder, and what is wanted.</param>
/// <param name="node">The node to differentiate.</param>
/// <param name="dY">Gradient of the loss with respect to the node's first output, in that output's shape.</param>
public delegate IReadOnlyList<Value?> GradientRule(GradientContext g, Node node, Value dY);

/// <summary>As <see cref="GradientRule"/>, for nodes with several outputs.</summary>
/// <param name="g">Builder, and what is wanted.</param>
/// <param name="node">The node to differentiate.</param>
/// <param name="dY">Gradients of the outputs in order; null for an output that does not lead to the loss. At least one is there.</param>
public delegate IReadOnlyList<Value?> ManyOutputsRule(GradientContext g, Node node, IReadOnlyList<Value?> dY);

/// <summary>Gradient of an elementwise function of one input.</summary>
/// <param name="op">Builder.</param>
/// <param name="x">The input.</param>
/// <param name="y">The output.</param>
/// <param name="dY">Gradient of the output.</param>
public delegate Value UnaryRule(OpBuilder op, Value x, Value y, Value dY);

/// <summary>Which operator has which gradient rule.</summary>
public sealed class GradientTable
{
    private readonly OrderedDictionary<(string Domain, string OpType), ManyOutputsRule?> _rules = [];

    /// <summary>An empty table; see <see cref="Standard"/>.</summary>
    public GradientTable()
    {
    }

    /// <summary>A new table with every rule of this project, open to additions.</summary>
    public static GradientTable Standard()
    {
        var table = new GradientTable();
        NoGradientRules.AddTo(table);
        ElementwiseRules.AddTo(table);
        ActivationRules.AddTo(table);
        MatMulRules.AddTo(table);
        ReductionRules.AddTo(table);
        ShapeRules.AddTo(table);
        SliceRules.AddTo(table);
        IndexingRules.AddTo(table);
        SoftmaxRules.AddTo(table);
        NormalizationRules.AddTo(table);
        RotaryRules.AddTo(table);
        return table;
    }

    /// <summary>Operators with a rule, as (domain, operator), in order of addition; those without gradient are left out.</summary>
    public IEnumerable<(string Domain, string OpType)> Differentiable => _rules.Where(r => r.Value is not null).Select(r => r.Key);

    /// <summary>Operators that no gradient passes, as (domain, operator).</summary>
    public IEnumerable<(string Domain, string OpType)> WithoutGradient => _rules.Where(r => r.Value is null).Select(r => r.Key);

    /// <summary>Adds or replaces the rule of an operator of which only the first output carries a gradient.</summary>
    public GradientTable Add(string opType, GradientRule rule, string domain = "") => AddManyOutputs(opType, (g, node, dY) =>
    {
        if (dY.Skip(1).Any(d => d is not null))
            throw g.Refusal(node, "the loss depends on more than its first output", "read only the first output");
        return rule(g, node, dY[0]!);
    }, domain);

    /// <summary>Adds or replaces the rule of an operator with several outputs.</summary>
    public GradientTable AddManyOutputs(string opType, ManyOutputsRule rule, string domain = "")
    {
        _rules[(domain, opType)] = rule;
        return this;
    }

    /// <summary>Adds or replaces the rule of an elementwise function of one input.</summary>
    public GradientTable AddUnary(string opType, UnaryRule rule, string domain = "") =>
        Add(opType, (g, node, dY) => [rule(g.Op, node.Inputs[0]!, node.Output, dY)], domain);

    /// <summary>Marks operators of the standard domain through which no gradient flows: the derivative is zero or not defined.</summary>
    public GradientTable AddWithoutGradient(params ReadOnlySpan<string> opTypes)
    {
        foreach (var opType in opTypes)
            _rules[("", opType)] = null;
        return this;
    }

    /// <summary>Whether <paramref name="node"/> is marked as one that no gradient passes.</summary>
    public bool Stops(Node node) => _rules.TryGetValue((node.Domain, node.OpType), out var rule) && rule is null;

    /// <summary>The rule for <paramref name="node"/>, or null.</summary>
    public ManyOutputsRule? Find(Node node) => _rules.GetValueOrDefault((node.Domain, node.OpType));
}
