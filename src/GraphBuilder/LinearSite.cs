using SorsaOrt.Ir;

namespace SorsaOrt.GraphBuilder;

/// <summary>One Linear of the model: a matrix product of activations with a stored rank-2 weight.</summary>
/// <param name="Module">Path of the module it came from, such as <c>model.layers.0.self_attn.q_proj</c>; unique in the model.</param>
/// <param name="Role">Last part of the path: <c>q_proj</c>, …, <c>down_proj</c>, <c>lm_head</c>.</param>
/// <param name="Node">The MatMul, Gemm or FusedMatMul.</param>
/// <param name="Weight">The initializer that stores the weight.</param>
/// <param name="Transposed">True when the weight is stored [in, out], as MatMul multiplies it; false for [out, in].</param>
/// <param name="In">Input features.</param>
/// <param name="Out">Output features.</param>
public sealed record LinearSite(string Module, string Role, Node Node, Value Weight, bool Transposed, int In, int Out)
{
    /// <summary>Activations that are multiplied, [..., in].</summary>
    public Value Input => Node.Inputs[0]!;

    /// <summary>Addend of a Gemm, or null.</summary>
    public Value? Addend => Node.Is("Gemm") ? Node.InputOrNull(2) : null;

    /// <summary>Whether the stored weight is read anywhere else, as by the embedding of a tied model.</summary>
    public bool IsShared => Weight.Uses.Count > 1;

    /// <summary>The weight in the layout it is stored in.</summary>
    /// <exception cref="TargetException">It is stored in a type that is not trained.</exception>
    public float[] ReadWeight() => Weight.Constant!.ToFloat32()
        ?? throw new TargetException($"{Module}: a weight of {Weight.Constant} cannot be trained.");
}
