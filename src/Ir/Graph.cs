using System.Globalization;
using System.Text;

namespace SorsaOrt.Ir;

/// <summary>A graph of nodes over values, the model as data. Knows nothing of training.</summary>
public sealed class Graph
{
    private readonly List<Value> _inputs = [];
    private readonly List<Value> _outputs = [];
    private readonly OrderedDictionary<string, Value> _initializers = new(StringComparer.Ordinal);
    private readonly HashSet<string> _names = new(StringComparer.Ordinal);
    private readonly Dictionary<string, int> _nextSuffix = new(StringComparer.Ordinal);
    private List<Node> _nodes = [];

    /// <summary>An empty graph.</summary>
    public Graph(string name) => Name = name;

    /// <summary>Name of the graph.</summary>
    public string Name { get; set; }

    /// <summary>Documentation string of the file.</summary>
    public string DocString { get; set; } = "";

    /// <summary>Inputs in order. An initializer of old files may be an input too.</summary>
    public IReadOnlyList<Value> Inputs => _inputs;

    /// <summary>Outputs in order.</summary>
    public IReadOnlyList<Value> Outputs => _outputs;

    /// <summary>Nodes in order of the file; after a rewrite call <see cref="SortTopologically"/>.</summary>
    public IReadOnlyList<Node> Nodes => _nodes;

    /// <summary>Initializers in order of the file.</summary>
    public IEnumerable<Value> Initializers => _initializers.Values;

    /// <summary>Metadata of the file.</summary>
    public IList<KeyValuePair<string, string>> Metadata { get; } = [];

    /// <summary>Parts of the file's graph that the product does not interpret (sparse initializers, quantisation annotations), kept for writing.</summary>
    public byte[]? Uninterpreted { get; set; }

    /// <summary>Values that <c>value_info</c> of the file named, in its order.</summary>
    internal List<Value> ValueInfoOrder { get; } = [];

    /// <summary>A new value that is not yet produced by anything. The name must be free.</summary>
    public Value NewValue(string name, TensorType? type = null)
    {
        if (name.Length > 0 && !_names.Add(name))
            throw new ModelFormatException($"the name '{name}' is given to two values of graph '{Name}'");
        return new Value(name) { Type = type };
    }

    /// <summary>A free name that begins with <paramref name="stem"/>.</summary>
    public string FreeName(string stem)
    {
        if (!_names.Contains(stem))
            return stem;
        for (var i = _nextSuffix.GetValueOrDefault(stem, 1); ; i++)
        {
            var name = stem + "_" + i.ToString(CultureInfo.InvariantCulture);
            if (!_names.Contains(name))
            {
                _nextSuffix[stem] = i + 1;
                return name;
            }
        }
    }

    /// <summary>Adds an input.</summary>
    public Value AddInput(string name, TensorType? type) => AddInput(NewValue(name, type));

    /// <summary>Adds an input that exists as a value already (an initializer of an old file).</summary>
    public Value AddInput(Value value)
    {
        _inputs.Add(value);
        return value;
    }

    /// <summary>Adds an initializer.</summary>
    public Value AddInitializer(string name, Tensor data)
    {
        var value = NewValue(name, new TensorType(data.ElementType, [.. data.Shape.Select(Dim.Of)]));
        MakeInitializer(value, data);
        return value;
    }

    /// <summary>Gives a value without producer constant data, or replaces the data of an initializer.</summary>
    public void MakeInitializer(Value value, Tensor data)
    {
        if (value.Producer is not null)
            throw new InvalidOperationException($"'{value.Name}' is computed by a node.");
        data.Uninterpreted ??= value.Constant?.Uninterpreted;
        value.Constant = data;
        _initializers[value.Name] = value;
    }

    /// <summary>Removes an initializer: the value stays, without data. With <paramref name="asInput"/> it becomes a graph input.</summary>
    public void RemoveInitializer(Value value, bool asInput = false)
    {
        _initializers.Remove(value.Name);
        value.Constant = null;
        if (asInput)
            _inputs.Add(value);
    }

    /// <summary>The initializer of that name, or null.</summary>
    public Value? FindInitializer(string name) => _initializers.GetValueOrDefault(name);

    /// <summary>Gives an initializer called <paramref name="name"/>, where there is one, another name, so that a value of ours can have it.</summary>
    public void Vacate(string name)
    {
        if (FindInitializer(name) is { } taken)
            Rename(taken, FreeName(name + ".original"));
    }

    /// <summary>Appends a node; its outputs must be values of this graph that nothing produces yet.</summary>
    public Node AddNode(string opType, IEnumerable<Value?> inputs, IEnumerable<Value?> outputs, string domain = "", string name = "")
    {
        var node = new Node(opType, domain, name, inputs, outputs);
        _nodes.Add(node);
        return node;
    }

    /// <summary>Adds an output.</summary>
    public void AddOutput(Value value) => _outputs.Add(value);

    /// <summary>Removes all outputs for which <paramref name="drop"/> is true.</summary>
    public void RemoveOutputs(Predicate<Value> drop) => _outputs.RemoveAll(drop);

    /// <summary>Removes an input that nothing reads.</summary>
    public void RemoveInput(Value value)
    {
        if (value.Uses.Count > 0)
            throw new InvalidOperationException($"Input '{value.Name}' is still read.");
        _inputs.Remove(value);
    }

    /// <summary>Puts <paramref name="other"/> in the place of an output.</summary>
    public void ReplaceOutput(Value value, Value other)
    {
        for (var i = 0; i < _outputs.Count; i++)
        {
            if (ReferenceEquals(_outputs[i], value))
                _outputs[i] = other;
        }
    }

    /// <summary>Gives a value another name, which must be free.</summary>
    public void Rename(Value value, string name)
    {
        if (!_names.Add(name))
            throw new InvalidOperationException($"The name '{name}' is taken.");
        _names.Remove(value.Name);
        if (value.Constant is not null && _initializers.Remove(value.Name))
            _initializers[name] = value;
        // A node that an OpBuilder named after its output keeps that name, so that the freed one is not given to two nodes.
        if (value.Producer is { } producer && producer.Name == value.Name)
            producer.Name = name;
        value.Name = name;
    }

    /// <summary>Removes nodes; their outputs must have no readers left outside the set.</summary>
    public void RemoveNodes(IReadOnlySet<Node> nodes)
    {
        foreach (var node in nodes)
            node.DropUses();
        foreach (var output in nodes.SelectMany(n => n.Outputs))
        {
            if (output is null)
                continue;
            if (output.Uses.Count > 0)
                throw new InvalidOperationException($"'{output.Name}' is still read by {output.Uses[0].Node}.");
            output.Producer = null;
            _names.Remove(output.Name);
        }
        _nodes = [.. _nodes.Where(n => !nodes.Contains(n))];
    }

    /// <summary>Removes nodes and initializers that no output depends on. Subgraphs count as readers of what they capture.</summary>
    public void RemoveUnused()
    {
        var live = new HashSet<Node>(ReferenceEqualityComparer.Instance as IEqualityComparer<Node>);
        var pending = new Stack<Value>(_outputs);
        var seen = new HashSet<Value>(_outputs);
        while (pending.TryPop(out var value))
        {
            if (value.Producer is not { } node || !live.Add(node))
                continue;
            foreach (var read in ReadBy(node))
            {
                if (seen.Add(read))
                    pending.Push(read);
            }
        }
        RemoveNodes(_nodes.Where(n => !live.Contains(n)).ToHashSet());
        foreach (var unused in _initializers.Values.Where(v => v.Uses.Count == 0 && !_outputs.Contains(v)).ToArray())
        {
            _initializers.Remove(unused.Name);
            _names.Remove(unused.Name);
        }
    }

    /// <summary>Orders nodes so that each comes after those it reads from; otherwise the present order is kept.</summary>
    /// <exception cref="ModelFormatException">The graph has a cycle.</exception>
    public void SortTopologically()
    {
        var position = new Dictionary<Node, int>();
        for (var i = 0; i < _nodes.Count; i++)
            position[_nodes[i]] = i;
        var waiting = new int[_nodes.Count];
        var readers = new List<int>[_nodes.Count];
        for (var i = 0; i < _nodes.Count; i++)
        {
            foreach (var source in ReadBy(_nodes[i]).Select(v => v.Producer).OfType<Node>().Distinct())
            {
                if (position.TryGetValue(source, out var p) && p != i)
                {
                    (readers[p] ??= []).Add(i);
                    waiting[i]++;
                }
                else if (p == i && ReferenceEquals(source, _nodes[i]))
                {
                    throw new ModelFormatException($"node '{source.Name}' reads its own output");
                }
            }
        }
        var ready = new PriorityQueue<int, int>();
        for (var i = 0; i < waiting.Length; i++)
        {
            if (waiting[i] == 0)
                ready.Enqueue(i, i);
        }
        var sorted = new List<Node>(_nodes.Count);
        while (ready.TryDequeue(out var i, out _))
        {
            sorted.Add(_nodes[i]);
            foreach (var reader in readers[i] ?? [])
            {
                if (--waiting[reader] == 0)
                    ready.Enqueue(reader, reader);
            }
        }
        if (sorted.Count != _nodes.Count)
        {
            var stuck = _nodes[Array.FindIndex(waiting, w => w > 0)];
            throw new ModelFormatException($"the graph has a cycle through node '{stuck.Name}' ({stuck.OpType})");
        }
        _nodes = sorted;
    }

    /// <summary>Puts nodes at the end, in the order given; nothing may read what they compute.</summary>
    public void MoveToEnd(IReadOnlyList<Node> last)
    {
        var moved = last.ToHashSet();
        _nodes = [.. _nodes.Where(n => !moved.Contains(n)), .. last];
    }

    /// <summary>Values that a node reads: its inputs, and what its subgraphs capture from outside.</summary>
    public static IEnumerable<Value> ReadBy(Node node)
    {
        var pending = new Stack<Node>([node]);
        while (pending.TryPop(out var next))
        {
            foreach (var input in next.Inputs)
            {
                if (input is not null)
                    yield return input;
            }
            foreach (var attribute in next.Attributes.Values)
            {
                IEnumerable<Graph> graphs = attribute.Content switch { Graph g => [g], IReadOnlyList<Graph> many => many, _ => [] };
                foreach (var graph in graphs)
                {
                    foreach (var inner in graph.Nodes)
                        pending.Push(inner);
                    foreach (var output in graph.Outputs)
                        yield return output;
                }
            }
        }
    }

    /// <summary>The readable text form: inputs, initializers, a line per node, outputs.</summary>
    public override string ToString()
    {
        var text = new StringBuilder().Append("graph ").Append(Name).Append('(').AppendJoin(", ", _inputs).AppendLine(") {");
        foreach (var value in _initializers.Values)
            text.Append("  ").Append(value).AppendLine(" = constant");
        foreach (var node in _nodes)
            text.Append("  ").Append(node).AppendLine();
        return text.Append("  return ").AppendJoin(", ", _outputs.Select(o => "%" + o.Name)).AppendLine().Append('}').ToString();
    }
}
