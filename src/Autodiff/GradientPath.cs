using System.Globalization;
using SorsaOrt.Ir;

namespace SorsaOrt.Autodiff;

/// <summary>The part of a graph between wanted parameters and the loss: all that is differentiated, and nothing else.</summary>
internal sealed class GradientPath
{
    // For each float value that depends on a wanted parameter, the first such parameter: named in errors.
    private readonly Dictionary<Value, Value> _origin = [];
    private readonly HashSet<Value> _leadsToLoss = [];

    private GradientPath(IReadOnlyList<Value> parameters)
    {
        foreach (var parameter in parameters)
            _origin.TryAdd(parameter, parameter);
    }

    /// <summary>Nodes on a path from a wanted parameter to the loss, in order of the sorted graph.</summary>
    public IReadOnlyList<Node> Nodes { get; private set; } = [];

    /// <summary>Whether <paramref name="value"/> depends on a wanted parameter through differentiable operations, or is one.</summary>
    public bool Carries(Value value) => _origin.ContainsKey(value);

    /// <summary>Finds the path in a sorted graph; complains about all nodes without a rule at once.</summary>
    public static GradientPath Find(Graph graph, Value loss, IReadOnlyList<Value> parameters, GradientTable table)
    {
        var path = Between(graph, loss, parameters, table);
        path.RefuseUnknown(path.Nodes.Where(n => table.Find(n) is null), loss);
        RefuseUnconnected(parameters.Where(p => !path._leadsToLoss.Contains(p)), loss);
        return path;
    }

    /// <summary>As <see cref="Find"/>, without complaints.</summary>
    public static GradientPath Between(Graph graph, Value loss, IReadOnlyList<Value> parameters, GradientTable table)
    {
        var path = new GradientPath(parameters);
        var fromParameters = graph.Nodes.Where(node => path.Reach(node, table)).ToList();
        path._leadsToLoss.Add(loss);
        var nodes = new List<Node>();
        for (var i = fromParameters.Count - 1; i >= 0; i--)
        {
            var node = fromParameters[i];
            if (!node.Outputs.Any(o => o is not null && path.Carries(o) && path._leadsToLoss.Contains(o)))
                continue;
            nodes.Add(node);
            path._leadsToLoss.UnionWith(Graph.ReadBy(node).Where(path.Carries));
        }
        nodes.Reverse();
        path.Nodes = nodes;
        return path;
    }

    // Marks the float outputs of a node that reads a marked value.
    private bool Reach(Node node, GradientTable table)
    {
        if (table.Stops(node) || Graph.ReadBy(node).FirstOrDefault(Carries) is not { } source)
            return false;
        var reached = false;
        foreach (var output in node.Outputs)
        {
            if (output is null || (output.Type is { } type && !type.ElementType.IsFloat()))
                continue;
            _origin.TryAdd(output, _origin[source]);
            reached = true;
        }
        return reached;
    }

    private void RefuseUnknown(IEnumerable<Node> nodes, Value loss)
    {
        var complaints = nodes.Select(node => Describe(node, $"no gradient rule for '{node.OpType}'", _origin[Graph.ReadBy(node).First(Carries)].Name,
            loss.Name, "export it as simpler operators, or add a rule in src/Autodiff/Rules with its gradient check")).ToArray();
        if (complaints.Length > 0)
            throw new UnsupportedGraphException(string.Join(Environment.NewLine, complaints));
    }

    private static void RefuseUnconnected(IEnumerable<Value> parameters, Value loss)
    {
        var complaints = parameters.Select(p => $"SORSA2004: the parameter '{p.Name}' does not reach the loss '{loss.Name}'"
            + $"{Environment.NewLine}  do  leave it out of the parameters, or check that what reads it leads to the loss").ToArray();
        if (complaints.Length > 0)
            throw new UnsupportedGraphException(string.Join(Environment.NewLine, complaints));
    }

    /// <summary>The complaint about a node, with its place, its types and the path it stands on.</summary>
    public static string Describe(Node node, string what, string parameter, string loss, string advice)
    {
        var set = node.Domain.Length > 0 ? node.Domain : "opset " + OpBuilder.WorkingOpset.ToString(CultureInfo.InvariantCulture);
        return $"""
            SORSA2003: {what} ({set})
              at  '{node.Name}'  ({Types(node.Inputs)}) -> {Types(node.Outputs)}
              on the path from '{parameter}' to '{loss}'
              do  {advice}
            """;
    }

    /// <summary>The complaint about a node on the path.</summary>
    public string Describe(Node node, string what, Value loss, string advice) =>
        Describe(node, what, Graph.ReadBy(node).Where(Carries).Select(v => _origin[v].Name).FirstOrDefault("?"), loss.Name, advice);

    private static string Types(IEnumerable<Value?> values) =>
        string.Join(", ", values.Select(v => v is null ? "_" : v.Type is null ? v.Name : $"{v.Name} {v.Type}"));
}
