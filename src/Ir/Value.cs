namespace SorsaOrt.Ir;

/// <summary>A tensor-valued edge of a graph: a graph input, an initializer, or the output of a node.</summary>
/// <remarks>Has at most one producer and an ordered list of uses that only the graph's own methods change.</remarks>
public sealed class Value
{
    private readonly List<Use> _uses = [];

    internal Value(string name) => Name = name;

    /// <summary>Name, unique within the graph.</summary>
    public string Name { get; internal set; }

    /// <summary>Element type and shape, where known.</summary>
    public TensorType? Type { get; set; }

    /// <summary>The node that computes it; null for a graph input or an initializer.</summary>
    public Node? Producer { get; internal set; }

    /// <summary>Data of an initializer; null for everything else.</summary>
    public Tensor? Constant { get; internal set; }

    /// <summary>The file's name for what this initializer holds in another type or shape; null where it is as the file has it, under its own name.</summary>
    public string? StoredAs { get; set; }

    /// <summary>Name of the initializer in the file.</summary>
    public string StoredName => StoredAs ?? Name;

    /// <summary>Where it is read, in order of insertion, so that output files are deterministic.</summary>
    public IReadOnlyList<Use> Uses => _uses;

    /// <summary>Elements of a small integer tensor (rank 0 or 1) as far as shape inference knows them; null where it does not.</summary>
    public IReadOnlyList<Dim>? KnownElements { get; set; }

    /// <summary>Documentation string of the file, kept as it is.</summary>
    public string DocString { get; set; } = "";

    /// <summary>Metadata of the file, kept as it is.</summary>
    public IList<KeyValuePair<string, string>> Metadata { get; } = [];

    /// <summary>Whether <c>value_info</c> of the file named it: written back there then.</summary>
    public bool HasValueInfo { get; set; }

    /// <summary>Parts of the file's value information that the product does not interpret (denotations, sequences, maps), kept for writing.</summary>
    public byte[]? Uninterpreted { get; set; }

    /// <summary>Element type, or <see cref="ElementType.Undefined"/>.</summary>
    public ElementType ElementType => Type?.ElementType ?? ElementType.Undefined;

    /// <summary>Dimensions, or null where the rank is unknown.</summary>
    public IReadOnlyList<Dim>? Shape => Type?.Shape;

    /// <summary>Whether both shapes are known to the last axis and equal for every value of the symbols.</summary>
    public bool HasShapeOf(Value other) => Shape is { } x && other.Shape is { } y && x.Count == y.Count
        && Enumerable.Range(0, x.Count).All(i => Dim.Same(x[i], y[i]));

    /// <summary>Makes every node that reads this value, and every graph output that is this value, read <paramref name="other"/> instead.</summary>
    public void ReplaceAllUsesWith(Value other, Graph? outputsOf = null)
    {
        if (ReferenceEquals(other, this))
            return;
        foreach (var use in _uses.ToArray())
            use.Node.SetInput(use.InputIndex, other);
        outputsOf?.ReplaceOutput(this, other);
    }

    internal void AddUse(Node node, int index) => _uses.Add(new Use(node, index));

    internal void RemoveUse(Node node, int index) => _uses.Remove(new Use(node, index));

    /// <summary><c>%name: f32[2,3]</c>.</summary>
    public override string ToString() => Type is null ? $"%{Name}" : $"%{Name}: {Type}";
}

/// <summary>One place where a value is read: input <paramref name="InputIndex"/> of <paramref name="Node"/>.</summary>
public readonly record struct Use(Node Node, int InputIndex);
