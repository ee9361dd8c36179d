namespace SorsaOrt.Artifacts.OrtFormats;

/// <summary>What the tables of an official checkpoint say, checked.</summary>
internal sealed record OrtCheckpointStructure(
    IReadOnlyList<OrtCheckpointTensor> Trainable, IReadOnlyList<OrtCheckpointTensor> Frozen, bool IsNominal, OrtOptimizerGroup? Optimizer)
{
    public const string Identifier = "ODTC";
    public const int Version = 2;
    public const string Group = "group0";
    public const string FirstMoment = "momentum0";
    public const string SecondMoment = "momentum1";
    public const int Float32 = 1;

    private const int MaxRank = 64;

    // Bytes of an element by ONNX type number; 0: not allowed in a checkpoint.
    private static ReadOnlySpan<byte> Sizes => [0, 4, 1, 1, 2, 2, 4, 8, 0, 1, 0, 8, 4, 8];

    /// <summary>Whether tensors may lie in a second file.</summary>
    public static bool HasExternalData(string path, ReadOnlySpan<byte> bytes)
    {
        var reader = new FlatReader(path, bytes);
        int module = reader.Table(reader.Root(Identifier), 1, "ModuleState");
        return module != 0 && reader.Bool(module, 3, "ModuleState");
    }

    public static OrtCheckpointStructure Read(string path, ReadOnlySpan<byte> bytes, long? externalLength)
    {
        var reader = new FlatReader(path, bytes);
        int root = reader.Root(Identifier);
        if (reader.Int(root, 0, "Checkpoint") is var version && version != Version)
            throw reader.Broken($"its version is {version}, {Version} is read");
        int module = reader.Table(root, 1, "ModuleState");
        if (module == 0)
            throw reader.Broken("it has no ModuleState");
        bool nominal = reader.Bool(module, 2, "ModuleState");
        var names = new HashSet<string>(StringComparer.Ordinal);
        var trainable = Tensors(reader, module, 0, "requires_grad_params", names, nominal, externalLength);
        var frozen = Tensors(reader, module, 1, "frozen_params", names, nominal, externalLength);
        return new OrtCheckpointStructure(trainable, frozen, nominal, ReadGroup(reader, root, externalLength));
    }

    /// <summary>Value of a text property; null where it is absent.</summary>
    public static string? Property(string path, ReadOnlySpan<byte> bytes, string name)
    {
        var reader = new FlatReader(path, bytes);
        int bag = reader.Table(reader.Root(Identifier), 3, "PropertyBag");
        if (bag == 0 || reader.Vector(bag, 2, sizeof(int), "strings") is not { } texts)
            return null;
        for (int i = 0; i < texts.Count; i++)
        {
            int property = reader.Element(texts, i, "strings");
            if (reader.Name(property, 0, $"strings[{i}]") == name)
                return reader.String(property, 1, $"the property {Text.Quote(name)}");
        }
        return null;
    }

    private static List<OrtCheckpointTensor> Tensors(
        FlatReader reader, int table, int id, string what, HashSet<string> names, bool nominal, long? externalLength)
    {
        var vector = reader.Vector(table, id, sizeof(int), what) ?? throw reader.Broken($"ModuleState has no {what}");
        var tensors = new List<OrtCheckpointTensor>();
        for (int i = 0; i < vector.Count; i++)
        {
            var tensor = Tensor(reader, reader.Element(vector, i, what), $"{what}[{i}]", nominal, externalLength);
            if (!names.Add(tensor.Name))
                throw reader.Broken($"the parameter {Text.Quote(tensor.Name)} stands twice");
            tensors.Add(tensor);
        }
        return tensors;
    }

    private static OrtCheckpointTensor Tensor(FlatReader reader, int table, string what, bool nominal, long? externalLength)
    {
        string name = reader.Name(table, 0, what);
        what = $"{what} ({Text.Quote(name)})";
        long[] shape = reader.Longs(table, 2, MaxRank, what) ?? throw reader.Broken($"{what} has no dims");
        int type = reader.Int(table, 3, what);
        if (type < 0 || type >= Sizes.Length || Sizes[type] == 0)
            throw reader.Broken($"{what} has element type {type}, which a checkpoint cannot hold");
        if (nominal)
            return new OrtCheckpointTensor(name, shape, type, 0, 0, false);
        long needed = Sizes[type];
        foreach (long length in shape)
        {
            if (length < 0 || (length > 0 && needed > int.MaxValue / length))
                throw reader.Broken($"{what} has the shape [{string.Join(',', shape)}]");
            needed *= length;
        }
        if (reader.Vector(table, 4, 1, what) is (var start, var count))
            return count == needed ? new OrtCheckpointTensor(name, shape, type, start, count, false)
                : throw reader.Broken($"{what} needs {needed} bytes, {count} are there");
        long offset = reader.Long(table, 6, -1, what);
        return externalLength is { } end && offset >= 0 && offset <= end - needed
            ? new OrtCheckpointTensor(name, shape, type, offset, (int)needed, true)
            : throw reader.Broken($"{what} needs {needed} bytes; it has neither raw_data nor {needed} bytes of external data at offset {offset}");
    }

    private static OrtOptimizerGroup? ReadGroup(FlatReader reader, int root, long? externalLength)
    {
        if (reader.Vector(root, 2, sizeof(int), "optimizer_groups") is not ({ Count: > 0 } and var groups))
            return null;
        if (groups.Count > 1)
            throw reader.Broken($"it has {groups.Count} optimizer groups, the runtime knows one");
        int group = reader.Element(groups, 0, "optimizer_groups");
        if (reader.Name(group, 0, "optimizer_groups[0]") is var name && name != Group)
            throw reader.Broken($"its optimizer group is named {Text.Quote(name)}, {Text.Quote(Group)} was expected");
        long step = reader.Long(group, 1, 0, Group);
        if (step < 0)
            throw reader.Broken($"its optimizer has made {step} steps");
        var (first, second) = (new Dictionary<string, OrtCheckpointTensor>(StringComparer.Ordinal), new Dictionary<string, OrtCheckpointTensor>(StringComparer.Ordinal));
        var states = reader.Vector(group, 3, sizeof(int), "optimizer_states") ?? default;
        for (int i = 0; i < states.Count; i++)
        {
            int state = reader.Element(states, i, "optimizer_states");
            string parameter = reader.Name(state, 0, $"optimizer_states[{i}]");
            string what = $"the state of {Text.Quote(parameter)}";
            var moments = reader.Vector(state, 1, sizeof(int), what) ?? default;
            if (moments.Count != 2 || first.ContainsKey(parameter))
                throw reader.Broken($"{what} {(moments.Count == 2 ? "stands twice" : $"has {moments.Count} moments, AdamW has 2")}");
            for (int k = 0; k < 2; k++)
            {
                var moment = Tensor(reader, reader.Element(moments, k, what), what, nominal: false, externalLength);
                var into = moment.Name switch { FirstMoment => first, SecondMoment => second, _ => null };
                if (moment.Type != Float32 || into is null || !into.TryAdd(parameter, moment))
                    throw reader.Broken($"{what} holds {Text.Quote(moment.Name)} of type {moment.Type}; {FirstMoment} and {SecondMoment} of type {Float32} were expected");
            }
        }
        return new OrtOptimizerGroup(step, reader.Float(group, 2, Group), first, second);
    }
}
