using SorsaOrt.Ir.Serialization.Proto;

namespace SorsaOrt.Ir.Serialization;

/// <summary>An initializer as it stands in the file; <paramref name="RawData"/> is where its raw data lies when the message lacks it.</summary>
internal readonly record struct StoredTensor(TensorProto Proto, ByteRange? RawData);

/// <summary>Makes a <see cref="Graph"/> of a <c>GraphProto</c>: one reader for each graph, the outer ones reachable for captured values.</summary>
internal sealed class GraphReader(ModelFiles files, ModelProto modelProto, GraphReader? outer)
{
    private readonly Dictionary<string, Value> _values = new(StringComparer.Ordinal);
    private readonly HashSet<Value> _described = [];
    private Graph _graph = new("");

    /// <summary>Reads the graph; its messages are emptied on the way.</summary>
    public Graph Read(GraphProto proto, IReadOnlyList<StoredTensor> initializers, out List<(string, ExternalLocation)> external)
    {
        _graph = new Graph(proto.Name) { DocString = proto.DocString };
        foreach (var input in proto.Input)
            AddInput(input);
        external = [];
        foreach (var initializer in initializers)
            AddInitializer(initializer, external);
        foreach (var sparse in proto.SparseInitializer)
            AddSparse(sparse);
        foreach (var node in proto.Node)
        {
            foreach (var output in node.Output.Where(o => o.Length > 0))
                Declare(output, $"an output of node {Describe(node)}");
        }
        foreach (var node in proto.Node)
            AddNode(node);
        AddOutputs(proto);
        AddValueInfo(proto);
        Sort();
        OnnxReader.TakeMetadata(proto.MetadataProps, _graph.Metadata);
        proto.Node.Clear();
        proto.Input.Clear();
        if (proto.Name.Length > 0)
            proto.ClearName();
        if (proto.DocString.Length > 0)
            proto.ClearDocString();
        _graph.Uninterpreted = OnnxReader.Kept(proto);
        return _graph;
    }

    private Value Declare(string name, string what)
    {
        if (name.Length == 0)
            throw new ModelFormatException($"{what} has no name");
        if (_values.ContainsKey(name))
            throw new ModelFormatException($"the name {Quoted.Text(name)} is given twice: {what} has it too");
        return _values[name] = _graph.NewValue(name);
    }

    private Value? Find(string name)
    {
        for (var reader = this; reader is not null; reader = reader.Outer)
        {
            if (reader._values.TryGetValue(name, out var value))
                return value;
        }
        return null;
    }

    private GraphReader? Outer { get; } = outer;

    private void AddInput(ValueInfoProto info)
    {
        var value = Declare(info.Name, "an input");
        _graph.AddInput(value);
        Describe(value, info);
    }

    private void AddInitializer(StoredTensor stored, List<(string, ExternalLocation)> external)
    {
        var name = stored.Proto.Name;
        var tensor = TensorReader.Read(stored.Proto, files, stored.RawData, clearName: true, out var location);
        if (_values.TryGetValue(name, out var value) && value.Constant is null && value.Producer is null)
        {
            if (value.Type is { } type && type.ElementType != tensor.ElementType)
                throw new ModelFormatException(
                    $"initializer {Quoted.Text(name)} is {tensor.ElementType.ShortName()}, the input of that name {type.ElementType.ShortName()}");
            if (value.Type?.StaticShape is { } declared && !declared.SequenceEqual(tensor.Shape))
                throw new ModelFormatException(
                    $"initializer {Quoted.Text(name)} has shape {TensorReader.Shape(tensor.Shape)}, the input of that name {TensorReader.Shape(declared)}");
        }
        else
        {
            value = Declare(name, "an initializer");
            value.Type = new TensorType(tensor.ElementType, [.. tensor.Shape.Select(Dim.Of)]);
        }
        _graph.MakeInitializer(value, tensor);
        if (location is not null)
            external.Add((name, location));
    }

    // A sparse initializer stays uninterpreted, but nodes may read it by its name.
    private void AddSparse(SparseTensorProto sparse)
    {
        SparseTensors.Check(sparse);
        var value = Declare(sparse.Values?.Name ?? "", "a sparse initializer");
        value.Type = new TensorType((ElementType)sparse.Values!.DataType, [.. sparse.Dims.Select(Dim.Of)]);
    }

    private void AddNode(NodeProto proto)
    {
        var what = Describe(proto);
        var inputs = proto.Input.Select(name => name.Length == 0 ? null : Find(name)
            ?? throw new ModelFormatException($"node {what} reads {Quoted.Text(name)}, which nothing produces")).ToArray();
        var outputs = proto.Output.Select(name => name.Length == 0 ? null : _values[name]).ToArray();
        var node = _graph.AddNode(proto.OpType, inputs, outputs, proto.Domain, proto.Name);
        node.Overload = proto.Overload;
        node.DocString = proto.DocString;
        OnnxReader.TakeMetadata(proto.MetadataProps, node.Metadata);
        var attributes = new AttributeReader(files, modelProto, this);
        foreach (var attribute in proto.Attribute)
        {
            var name = attribute.Name;
            try
            {
                if (!node.Attributes.TryAdd(name, attributes.Read(attribute)))
                    throw new ModelFormatException("it is given twice");
            }
            catch (ModelFormatException e)
            {
                throw new ModelFormatException($"attribute {Quoted.Text(name)} of node {what}: {e.Message}", e);
            }
        }
        proto.Input.Clear();
        proto.Output.Clear();
        proto.Attribute.Clear();
        proto.ClearOpType();
        if (proto.Name.Length > 0)
            proto.ClearName();
        if (node.Domain.Length > 0)
            proto.ClearDomain();
        if (proto.Overload.Length > 0)
            proto.ClearOverload();
        if (proto.DocString.Length > 0)
            proto.ClearDocString();
        node.Uninterpreted = OnnxReader.Kept(proto);
    }

    // What stays of outputs and value_info in the message is written back as it is: names that no value of the graph has, and
    // second descriptions of a value.
    private void AddOutputs(GraphProto proto)
    {
        var kept = new List<ValueInfoProto>();
        foreach (var info in proto.Output)
        {
            var value = Find(info.Name) ?? throw new ModelFormatException($"the output {Quoted.Text(info.Name)} is produced by no node");
            _graph.AddOutput(value);
            if (_values.ContainsKey(info.Name) && !_described.Contains(value))
                Describe(value, info);
            else if (!ValueInfoConversion.Write(value).Equals(info))
                kept.Add(info);
        }
        proto.Output.Clear();
        proto.Output.AddRange(kept);
    }

    private void AddValueInfo(GraphProto proto)
    {
        var kept = new List<ValueInfoProto>();
        var seen = new HashSet<string>(StringComparer.Ordinal);
        foreach (var info in proto.ValueInfo)
        {
            if (!seen.Add(info.Name))
                throw new ModelFormatException($"value_info describes {Quoted.Text(info.Name)} twice");
            if (_values.TryGetValue(info.Name, out var value) && !_described.Contains(value))
            {
                value.HasValueInfo = true;
                _graph.ValueInfoOrder.Add(value);
                Describe(value, info);
            }
            else
            {
                kept.Add(info);
            }
        }
        proto.ValueInfo.Clear();
        proto.ValueInfo.AddRange(kept);
    }

    private void Describe(Value value, ValueInfoProto info)
    {
        _described.Add(value);
        ValueInfoConversion.Read(value, info);
    }

    // Files list nodes in an order that works; where one does not, the graph is sorted, and a cycle is found.
    private void Sort()
    {
        var done = new HashSet<Node>();
        var own = _graph.Nodes.ToHashSet();
        foreach (var node in _graph.Nodes)
        {
            if (Graph.ReadBy(node).Any(v => v.Producer is { } p && own.Contains(p) && !done.Contains(p)))
            {
                _graph.SortTopologically();
                return;
            }
            done.Add(node);
        }
    }

    private static string Describe(NodeProto node) =>
        Quoted.Text(node.Name.Length > 0 ? node.Name : node.Output.FirstOrDefault() ?? "") + $" ({Quoted.Text(node.OpType)[1..^1]})";
}
