using SorsaOrt.Artifacts;
using SorsaOrt.Ir;
using SorsaOrt.Ir.Serialization;

namespace SorsaOrt.GraphBuilder;

/// <summary>The graphs of one optimizer step: gradient norm, orthonormality regulariser, AdamW. Standard operators only, so any provider runs them.</summary>
/// <remarks>
/// The engine runs them over slices of its flat buffers, so their memory does not grow with the model, and binds outputs to the
/// memory of inputs. That is safe here: the node that writes such an output is a binary elementwise one, which has read an element of
/// its inputs before it writes that element, and every other node that reads the overwritten input is an ancestor of it, so has run.
/// (A Sum of three inputs would not do: it writes its output once per pair.) Tests hold this over many slices.
/// </remarks>
public static class OptimizerGraphs
{
    /// <summary>Writes all of them into an artifact folder.</summary>
    /// <param name="folder">Where to.</param>
    /// <param name="optimizerName">File name of AdamW.</param>
    public static void Write(StagedFolder folder, string optimizerName = ArtifactFiles.OptimizerModel)
    {
        ArgumentNullException.ThrowIfNull(folder);
        (string Name, Func<Model> Build)[] models =
        [
            (optimizerName, AdamW),
            (ArtifactFiles.NormModel, Norm),
            (ArtifactFiles.RegularizerOfRowsModel, RegularizerOfRows),
            (ArtifactFiles.RegularizerOfColumnsModel, RegularizerOfColumns),
        ];
        foreach (var (name, build) in models)
        {
            using var model = build();
            folder.Write(name, OnnxWriter.ToBytes(model));
        }
    }

    /// <summary>‖x‖² of a slice: <c>x</c> f32 [n] → <c>sum_of_squares</c> f32 [].</summary>
    public static Model Norm()
    {
        var op = Begin("norm");
        var x = Input(op, "x", Dim.Symbol("n"));
        Output(op, op.Reduce("ReduceSumSquare", x, false), "sum_of_squares");
        return Finish(op);
    }

    /// <summary>The regulariser of a matrix with orthonormal rows, A [r, in]: M = A·Aᵀ − I, gradient 2·M·A/‖M‖_F.</summary>
    /// <inheritdoc cref="RegularizerOfColumns"/>
    public static Model RegularizerOfRows() => Regularizer(rows: true);

    /// <summary>The regulariser of a matrix with orthonormal columns, B [out, r]: Q = Bᵀ·B − I, gradient 2·B·Q/‖Q‖_F.</summary>
    /// <remarks>
    /// Inputs <c>matrix</c>, <c>gradient</c> (same shape), scalars <c>gradient_scale</c>, <c>strength</c>, <c>tolerance</c>. Outputs <c>norm</c> =
    /// ‖Q‖_F, and <c>gradient_out</c> = gradient_scale·gradient + strength·2·B·Q/‖Q‖, whose second part is 0 where ‖Q‖ ≤ tolerance.
    /// The clip factor is applied here rather than afterwards: dividing the strength by it first would round twice, and
    /// loses the regulariser altogether where the factor underflows. With gradient_scale = clip, strength = γ/(η·K·N) and tolerance = τ·r
    /// this is g = clip(task) + γ/(η·K)·∂ortho. <c>gradient_out</c> may be bound to the memory of <c>gradient</c>.
    /// Source: goldens/REFERENCE.md; arXiv 2409.00055; Gunale0926/SORSA sorsalib/src/sorsa/layer.py, calc_ortho.
    /// </remarks>
    public static Model RegularizerOfColumns() => Regularizer(rows: false);

    /// <summary>AdamW over a slice, with decoupled weight decay.</summary>
    /// <remarks>
    /// <c>parameter</c> p, <c>gradient</c> g, <c>first_moment</c> m, <c>second_moment</c> v, all f32 [n], and scalars:
    /// g ← gradient_scale·g;  m ← beta1·m + one_minus_beta1·g;  v ← beta2·v + one_minus_beta2·g²;
    /// p ← p − (decay·p + step_size·m / (√v/bias2 + epsilon)), where decay = ηₜ·weight_decay, step_size = ηₜ/(1 − β₁ᵗ), bias2 = √(1 − β₂ᵗ).
    /// The caller computes the scalars in double: in float32, 1 − 0.999 is wrong by 5e-5 of itself. The change of p is formed before
    /// it meets p, so p is rounded once; p·(1 − ηₜ·weight_decay) would round twice, and the factor too. Outputs <c>parameter_out</c>,
    /// <c>first_moment_out</c>, <c>second_moment_out</c> may be bound to the memory of their inputs.
    /// Source: Loshchilov and Hutter, arXiv 1711.05101; torch.optim.AdamW.
    /// </remarks>
    public static Model AdamW()
    {
        var op = Begin("adamw");
        var n = Dim.Symbol("n");
        var parameter = Input(op, "parameter", n);
        var gradient = op.Mul(Input(op, "gradient", n), Input(op, "gradient_scale"));
        var moment1 = op.Add(op.Mul(Input(op, "first_moment", n), Input(op, "beta1")), op.Mul(gradient, Input(op, "one_minus_beta1")));
        var squared = op.Mul(op.Mul(gradient, gradient), Input(op, "one_minus_beta2"));
        var moment2 = op.Add(op.Mul(Input(op, "second_moment", n), Input(op, "beta2")), squared);
        var denominator = op.Add(op.Div(op.Unary("Sqrt", moment2), Input(op, "bias2")), Input(op, "epsilon"));
        var step = op.Div(op.Mul(moment1, Input(op, "step_size")), denominator);
        Output(op, op.Sub(parameter, op.Add(op.Mul(parameter, Input(op, "decay")), step)), "parameter_out", n);
        Output(op, moment1, "first_moment_out", n);
        Output(op, moment2, "second_moment_out", n);
        return Finish(op);
    }

    private static Model Regularizer(bool rows)
    {
        var op = Begin(rows ? "regularizer_rows" : "regularizer_columns");
        Dim[] shape = [Dim.Symbol(rows ? "r" : "n"), Dim.Symbol(rows ? "n" : "r")];
        var matrix = Input(op, "matrix", shape);
        var gradient = op.Mul(Input(op, "gradient", shape), Input(op, "gradient_scale"));
        var product = rows ? op.Gemm(matrix, matrix, transB: true) : op.Gemm(matrix, matrix, transA: true);
        var deviation = op.Sub(product, IdentityLike(op, product));
        var norm = op.Unary("Sqrt", op.Reduce("ReduceSumSquare", deviation, false));
        // The divisor of the branch not taken is 1, so that neither branch of Where holds a NaN at the orthonormal point.
        var smooth = op.Emit("Greater", [norm, Input(op, "tolerance")]);
        var one = op.Constant(InMemoryTensor.Scalar(ElementType.Float32, 1));
        var zero = op.Constant(InMemoryTensor.Scalar(ElementType.Float32, 0));
        var strength = op.Where(smooth, op.Mul(Input(op, "strength"), op.Constant(InMemoryTensor.Scalar(ElementType.Float32, 2))), zero);
        var factor = op.Div(strength, op.Where(smooth, norm, one));
        var slope = rows ? op.Gemm(deviation, matrix) : op.Gemm(matrix, deviation);
        Output(op, norm, "norm");
        Output(op, op.Add(gradient, op.Mul(slope, factor)), "gradient_out", shape);
        return Finish(op);
    }

    // Not a constant: one graph serves every rank.
    private static Value IdentityLike(OpBuilder op, Value square) =>
        op.Emit("EyeLike", [square], NodeAttribute.Of("dtype", (long)ElementType.Float32));

    private static OpBuilder Begin(string name) => new(new Graph(name)) { Scope = name };

    private static Value Input(OpBuilder op, string name, params Dim[] shape) =>
        op.Graph.AddInput(name, new TensorType(ElementType.Float32, shape));

    private static void Output(OpBuilder op, Value value, string name, params Dim[] shape)
    {
        op.Graph.Rename(value, name);
        value.Type = new TensorType(ElementType.Float32, shape);
        op.Graph.AddOutput(value);
    }

    private static Model Finish(OpBuilder op)
    {
        var model = new Model(op.Graph) { ProducerName = "SorsaOrt" };
        model.Opsets[""] = OpBuilder.WorkingOpset;
        return model;
    }
}
