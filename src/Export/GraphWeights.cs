using SorsaOrt.Ir;

namespace SorsaOrt.Export;

/// <summary>Puts a source's weights into a graph as initializers, each checked for its shape.</summary>
/// <remarks>
/// Matrices are stored in the type that was asked for and computed with in float32: a Cast where they differ, because ONNX Runtime's CPU provider has
/// few kernels for float16 and none for bfloat16. Vectors (norms, biases) stay float32. A Linear is stored [in, out], as MatMul multiplies it and every
/// exporter has it: ONNX Runtime packs it as it stands and quantisers find it, while [out, in] behind a Transpose is folded into a second copy at load.
/// Its initializer says so, MODULE.MatMul.weight; all others have their Hugging Face names and layouts.
/// </remarks>
internal sealed class GraphWeights(IModelSource source, OpBuilder op, ElementType type)
{
    private readonly HashSet<string> _used = new(StringComparer.Ordinal);

    /// <summary>Bytes of all weights so far.</summary>
    public long Bytes { get; private set; }

    /// <summary>A norm or bias [<paramref name="length"/>], float32.</summary>
    public Value Vector(string name, long length) => Add(name, name, ElementType.Float32, false, length);

    /// <summary>A table [rows, columns] as the source has it, in the stored type.</summary>
    public Value Table(string name, long rows, long columns) => Add(name, name, type, false, rows, columns);

    /// <summary>The weight of a Linear as MatMul multiplies it, float32 [in, out].</summary>
    public Value Linear(string module, long outputs, long inputs) =>
        Widened(Add(module + ".weight", module + ".MatMul.weight", type, true, outputs, inputs));

    /// <summary>The value in float32.</summary>
    public Value Widened(Value stored) => op.Cast(stored, ElementType.Float32);

    /// <summary>Refuses a source with weights that the graph has no place for: the export would compute something else than the model.</summary>
    public void RefuseUnused()
    {
        var unknown = source.Names.Where(n => !_used.Contains(n) && !IsDerived(n)).Order(StringComparer.Ordinal).ToList();
        if (unknown.Count > 0)
            throw new UnsupportedGraphException($"{source.Path} holds {unknown.Count} tensors that a {source.Config.Architecture} model of this configuration has not: "
                + $"{string.Join(", ", unknown.Take(5).Select(n => $"'{source.NameInSource(n)}'"))}{(unknown.Count > 5 ? ", …" : "")}.");
    }

    // Tables that old exports carry along, and the head of a tied model, which is the embedding.
    private bool IsDerived(string name) => name.EndsWith(".rotary_emb.inv_freq", StringComparison.Ordinal)
        || (name == "lm_head.weight" && source.Config.Tied);

    private Value Add(string name, string initializer, ElementType stored, bool transpose, params long[] shape)
    {
        var tensor = source.Find(name) ?? throw new ModelFormatException($"{source.Path} has no tensor '{source.NameInSource(name)}' "
            + $"([{string.Join(',', shape)}]), which its configuration asks for.");
        if (!tensor.Shape.SequenceEqual(shape))
            throw new ModelFormatException($"{source.Path}: tensor '{tensor.Name}' is [{string.Join(',', tensor.Shape)}]; it must be [{string.Join(',', shape)}], for {source.Sizes}.");
        _used.Add(name);
        var value = op.Graph.AddInitializer(initializer, WeightPanels.Of(tensor, source.Path, stored, transpose));
        Bytes += value.Constant!.ByteLength;
        return value;
    }
}
