namespace SorsaOrt.Ir;

/// <summary>One operation of a graph.</summary>
public sealed class Node
{
    private readonly List<Value?> _inputs;
    private readonly List<Value?> _outputs;

    internal Node(string opType, string domain, string name, IEnumerable<Value?> inputs, IEnumerable<Value?> outputs)
    {
        OpType = opType;
        Domain = domain is "ai.onnx" ? "" : domain;
        Name = name;
        _inputs = [.. inputs];
        _outputs = [.. outputs];
        for (var i = 0; i < _inputs.Count; i++)
            _inputs[i]?.AddUse(this, i);
        foreach (var output in _outputs)
        {
            if (output is not null)
                output.Producer = this;
        }
    }

    /// <summary>Operator name, such as <c>MatMul</c>.</summary>
    public string OpType { get; }

    /// <summary>Operator domain; empty for the standard domain.</summary>
    public string Domain { get; }

    /// <summary>Overload of a model-local function; empty as a rule.</summary>
    public string Overload { get; set; } = "";

    /// <summary>Name of the node; may be empty.</summary>
    public string Name { get; set; }

    /// <summary>Inputs in order; null where an optional one is left out.</summary>
    public IReadOnlyList<Value?> Inputs => _inputs;

    /// <summary>Outputs in order; null where an optional one is left out.</summary>
    public IReadOnlyList<Value?> Outputs => _outputs;

    /// <summary>Attributes by name, in file order.</summary>
    public OrderedDictionary<string, NodeAttribute> Attributes { get; } = new(StringComparer.Ordinal);

    /// <summary>Metadata, such as the exporter's <c>pkg.torch.onnx.name_scopes</c>.</summary>
    public IList<KeyValuePair<string, string>> Metadata { get; } = [];

    /// <summary>Documentation string of the file.</summary>
    public string DocString { get; set; } = "";

    /// <summary>Parts of the file's node that the product does not interpret (device configurations), kept for writing.</summary>
    public byte[]? Uninterpreted { get; set; }

    /// <summary>The first output, which nearly every operator has alone.</summary>
    public Value Output => _outputs[0] ?? throw new InvalidOperationException($"Node '{Name}' has no first output.");

    /// <summary>Input <paramref name="index"/>, or null where it is left out or beyond the end.</summary>
    public Value? InputOrNull(int index) => index < _inputs.Count ? _inputs[index] : null;

    /// <summary>Whether this is operator <paramref name="opType"/> of <paramref name="domain"/>.</summary>
    public bool Is(string opType, string domain = "") => OpType == opType && Domain == domain;

    /// <summary>An integer attribute, or <paramref name="fallback"/>.</summary>
    public long Int(string name, long fallback) => Attributes.TryGetValue(name, out var a) && a.Content is long v ? v : fallback;

    /// <summary>A float attribute, or <paramref name="fallback"/>.</summary>
    public float Float(string name, float fallback) => Attributes.TryGetValue(name, out var a) && a.Content is float v ? v : fallback;

    /// <summary>An attribute of integers, or null.</summary>
    public IReadOnlyList<long>? Ints(string name) => Attributes.TryGetValue(name, out var a) ? a.Content as IReadOnlyList<long> : null;

    /// <summary>A tensor attribute, or null.</summary>
    public Tensor? TensorAttribute(string name) => Attributes.TryGetValue(name, out var a) ? a.Content as Tensor : null;

    /// <summary>A string attribute, or <paramref name="fallback"/>.</summary>
    public string Text(string name, string fallback) =>
        Attributes.TryGetValue(name, out var a) && a.Content is byte[] bytes ? System.Text.Encoding.UTF8.GetString(bytes) : fallback;

    /// <summary>Reads <paramref name="value"/> at input <paramref name="index"/> from now on; missing inputs before it are left out.</summary>
    public void SetInput(int index, Value? value)
    {
        while (_inputs.Count <= index)
            _inputs.Add(null);
        _inputs[index]?.RemoveUse(this, index);
        _inputs[index] = value;
        value?.AddUse(this, index);
    }

    /// <summary>Reads <paramref name="values"/> from now on, and nothing else.</summary>
    public void SetInputs(IReadOnlyList<Value?> values)
    {
        DropUses();
        _inputs.Clear();
        for (var i = 0; i < values.Count; i++)
            SetInput(i, values[i]);
        while (_inputs.Count < values.Count)
            _inputs.Add(null);
    }

    internal void DropUses()
    {
        for (var i = 0; i < _inputs.Count; i++)
            _inputs[i]?.RemoveUse(this, i);
    }

    /// <summary><c>%y = MatMul(%a, %b) "name"</c>.</summary>
    public override string ToString() =>
        $"{string.Join(", ", _outputs.Select(o => o?.ToString() ?? "_"))} = {(Domain.Length == 0 ? "" : Domain + "::")}{OpType}"
        + $"({string.Join(", ", _inputs.Select(i => i is null ? "_" : "%" + i.Name))})"
        + (Attributes.Count == 0 ? "" : " {" + string.Join(", ", Attributes.Values) + "}")
        + (Name.Length == 0 ? "" : $" \"{Name}\"");
}
