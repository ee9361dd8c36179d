using SorsaOrt.Adapters;
using SorsaOrt.Ir;

namespace SorsaOrt.GraphBuilder;

/// <summary>One Linear of the model: a matrix product of activations with a stored rank-2 weight, or a slice of the outputs of one.</summary>
/// <param name="Module">Path of the module it came from, such as <c>model.layers.0.self_attn.q_proj</c>; unique in the model.</param>
/// <param name="Role">Last part of the path: <c>q_proj</c>, …, <c>down_proj</c>, <c>lm_head</c>.</param>
/// <param name="Node">The MatMul, Gemm or FusedMatMul; the Linears of a packed weight share it.</param>
/// <param name="Weight">The initializer that stores the weight.</param>
/// <param name="Transposed">True when the weight is stored [in, out], as MatMul multiplies it; false for [out, in].</param>
/// <param name="In">Input features.</param>
/// <param name="Out">Output features of this Linear.</param>
public sealed record LinearSite(string Module, string Role, Node Node, Value Weight, bool Transposed, int In, int Out)
{
    private static readonly HashSet<string> Passing = ["Transpose", "Cast", "Identity", "Reshape", "DequantizeLinear"];
    private readonly Value? _slice;

    /// <summary>First output feature within the weight where it packs several Linears (QKV, gate and up); null where it is this one's alone.</summary>
    public int? SliceStart { get; init; }

    /// <summary>The DequantizeLinear that makes floats of the weight, where it is stored quantised; null for a weight of floats.</summary>
    public Node? Dequantize { get; init; }

    /// <summary>Whether the weight is stored as small integers.</summary>
    public bool IsQuantized => Dequantize is not null;

    /// <summary>The weight as floats, in the layout it is stored in.</summary>
    public Value Floats => Dequantize?.Output ?? Weight;

    /// <summary>Name of the weight in the user's file.</summary>
    public string WeightName => Weight.StoredName;

    /// <summary>Other initializers over the same tensor of the file.</summary>
    internal IReadOnlyList<Value> OtherViews { get; init; } = [];

    /// <summary>Activations that are multiplied, [..., in].</summary>
    public Value Input => Node.Inputs[0]!;

    /// <summary>The result [..., out]: the node's output, or that of the Split behind it.</summary>
    public Value Output { get => _slice ?? Node.Output; init => _slice = value; }

    /// <summary>Output features of the whole weight: <see cref="Out"/>, or more where it is packed.</summary>
    public int StoredOut => checked((int)Weight.Constant!.Shape[Transposed ? 1 : 0]);

    /// <summary>Where this Linear lies in a packed weight, or null.</summary>
    public OutputSlice? Slice => SliceStart is { } start ? new OutputSlice(Transposed, In, StoredOut, start, Out) : null;

    /// <summary>Addend of a Gemm, over all outputs of the node, or null.</summary>
    public Value? Addend => Node.Is("Gemm") ? Node.InputOrNull(2) : null;

    /// <summary>Nodes besides <see cref="Node"/> that read the stored weight, through whatever only moves or converts it: the embedding of a tied model.</summary>
    public IReadOnlyList<Node> OtherReaders
    {
        get
        {
            var readers = new List<Node>();
            var pending = new Queue<Value>([Weight, .. OtherViews]);
            while (pending.TryDequeue(out var value))
            {
                foreach (var (node, index) in value.Uses)
                {
                    if (index == 0 && node.Domain.Length == 0 && Passing.Contains(node.OpType))
                        pending.Enqueue(node.Output);
                    else if (!ReferenceEquals(node, Node))
                        readers.Add(node);
                }
            }
            return readers;
        }
    }

    /// <summary>Whether the stored weight is read anywhere else, as by the embedding of a tied model.</summary>
    public bool IsShared => OtherReaders.Count > 0;

    /// <summary>The weight of this Linear in the layout it is stored in.</summary>
    /// <exception cref="TargetException">It is stored in a type that is not trained.</exception>
    public float[] ReadWeight() => Slice is { } slice ? slice.Take<float>(ReadStored()) : ReadStored();

    /// <summary>The stored weight, whole where it is packed.</summary>
    /// <exception cref="TargetException">It is stored in a type that is not trained.</exception>
    public float[] ReadStored() => (Dequantize is null ? Weight.Constant!.ToFloat32() : QuantizedWeight.Of(Dequantize)!.Read().ToFloat32())
        ?? throw new TargetException($"{Module}: a weight of {Weight.Constant} cannot be trained.");
}
