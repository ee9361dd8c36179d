using SorsaOrt.Ir;
using SorsaOrt.Ir.Serialization;

namespace SorsaOrt.GraphBuilder.OrtTraining;

/// <summary>The optimizer graph of the official training runtime: clip, add the orthonormality term, AdamW, over sequences of tensors.</summary>
/// <remarks>
/// The runtime gives parameters, gradients and moments as four sequences in an order that the graph cannot know, so every tensor is
/// treated alike. That is enough for the regulariser: of a matrix with r ≤ in or r ≤ out the r vectors of the shorter side are those
/// held orthonormal (for a square one both sides give the same term), and S, a vector, has none. Names, order and attributes:
/// ../shared/conformance/ort-training/SPEC.md section 4 (ONNX Runtime 1.19.2).
/// </remarks>
public static class OfficialOptimizer
{
    private const string Microsoft = "com.microsoft";

    /// <summary>τ of the guard at the orthonormal point, as in the plain engine: below τ·r the term's gradient is rounding noise, taken as 0.</summary>
    private const double GuardPerRank = 1e-6;

    /// <summary>Builds the graph.</summary>
    /// <param name="options">What it fixes.</param>
    /// <param name="regularized">Matrices N that the orthonormality term is the mean over; 0: none is.</param>
    public static Model Build(OfficialOptimizerOptions options, int regularized)
    {
        var op = new OpBuilder(new Graph("optimizer")) { Scope = "adamw" };
        var graph = op.Graph;
        var rate = graph.AddInput("learning_rate", new TensorType(ElementType.Float32, [1]));
        var step = graph.AddInput("step", new TensorType(ElementType.Int64, [1]));
        var parameters = Sequences.AddInput(graph, "params", ElementType.Float32);
        var gradients = Sequences.AddInput(graph, "gradients", ElementType.Float32);
        var first = Sequences.AddInput(graph, "first_order_moments", ElementType.Float32);
        var second = Sequences.AddInput(graph, "second_order_moments", ElementType.Float32);
        if (options.MaxGradNorm > 0)
            gradients = op.Emit("InplaceClipGradNorm", Microsoft, 1, [gradients], NodeAttribute.Of("max_norm", options.MaxGradNorm))[0];
        if (options.RegularizerStrength > 0 && regularized > 0)
            gradients = Regularize(op, parameters, gradients, options.RegularizerStrength / regularized);
        var updated = op.Emit("AdamWOptimizer", Microsoft, 1, [rate, step, parameters, gradients, first, second],
            NodeAttribute.Of("alpha", options.Beta1), NodeAttribute.Of("beta", options.Beta2), NodeAttribute.Of("epsilon", options.Epsilon),
            NodeAttribute.Of("weight_decay", options.WeightDecay), NodeAttribute.Of("correct_bias", 1), NodeAttribute.Of("adam_mode", 0))[0];
        graph.Rename(updated, "updated_flag");
        updated.Type = new TensorType(ElementType.Bool, [1]);
        graph.AddOutput(updated);
        var model = new Model(graph) { ProducerName = "sorsa" };
        model.Opsets[""] = OpBuilder.WorkingOpset;
        model.Opsets[Microsoft] = 1;
        return model;
    }

    // One more sequence: each gradient with the slope of its matrix's term added.
    private static Value Regularize(OpBuilder op, Value parameters, Value gradients, double strength)
    {
        op.Scope = "orthonormality";
        var none = op.Emit("SequenceEmpty", [], NodeAttribute.Of("dtype", (long)ElementType.Float32));
        var count = op.Emit("SequenceLength", [parameters]);
        var goOn = op.Constant(InMemoryTensor.Scalar(ElementType.Bool, 1));
        var body = new OpBuilder(new Graph("one_tensor")) { Scope = "orthonormality/tensor" };
        var i = body.Graph.AddInput("tensor_index", new TensorType(ElementType.Int64, []));
        var condition = body.Graph.AddInput("go_on", new TensorType(ElementType.Bool, []));
        var before = Sequences.AddInput(body.Graph, "gradients_so_far", ElementType.Float32);
        var sum = AddSlope(body, Element(body, parameters, i), Element(body, gradients, i), strength);
        body.Graph.AddOutput(body.Emit("Identity", [condition]));
        var after = body.Emit("SequenceInsert", [before, sum]);
        after.Uninterpreted = before.Uninterpreted;
        after.Type = null;
        body.Graph.AddOutput(after);
        return op.Emit("Loop", [count, goOn, none], new NodeAttribute("body", AttributeKind.Graph, body.Graph));
    }

    private static Value Element(OpBuilder op, Value sequence, Value index)
    {
        var element = op.Emit("SequenceAt", [sequence, index]);
        element.Type = new TensorType(ElementType.Float32, null);
        return element;
    }

    // gradient + strength·2·slope/‖M‖_F, the second part 0 for vectors and where ‖M‖_F ≤ τ·r.
    private static Value AddSlope(OpBuilder op, Value parameter, Value gradient, double strength)
    {
        var shape = op.ShapeOf(parameter);
        shape.Type = new TensorType(ElementType.Int64, [Dim.Unknown]);
        var lengths = op.Reshape(shape, -1);
        var rows = op.Slice(lengths, 0, 0, 1);
        var matrix = op.Reshape(parameter, op.Concat(0, rows, op.Integers(-1)));
        var columns = op.Slice(op.ShapeOf(matrix), 0, 1, 2);
        var wide = op.Squeeze(op.Emit("LessOrEqual", [rows, columns]), 0);
        var both = op.Emit("If", "", 2, [wide],
            new NodeAttribute("then_branch", AttributeKind.Graph, Slope(matrix, rows: true)),
            new NodeAttribute("else_branch", AttributeKind.Graph, Slope(matrix, rows: false)));
        var (slope, norm) = (both[0], both[1]);
        slope.Type = new TensorType(ElementType.Float32, [Dim.Unknown, Dim.Unknown]);
        norm.Type = new TensorType(ElementType.Float32, []);
        var rank = op.Cast(op.Squeeze(op.Emit("Min", [rows, columns]), 0), ElementType.Float32);
        var isMatrix = op.Emit("Equal", [op.Emit("Size", [lengths]), op.Constant(InMemoryTensor.Scalar(ElementType.Int64, 2))]);
        var counts = op.Emit("And", [isMatrix, op.Emit("Greater", [norm, op.Mul(rank, Float(op, GuardPerRank))])]);
        var factor = op.Div(op.Where(counts, Float(op, 2 * strength), Float(op, 0)), op.Where(counts, norm, Float(op, 1)));
        return op.Add(gradient, op.Reshape(op.Mul(slope, factor), shape));
    }

    // rows: M = P·Pᵀ − I, slope M·P; otherwise M = Pᵀ·P − I, slope P·M. The second output is ‖M‖_F.
    private static Graph Slope(Value matrix, bool rows)
    {
        var side = rows ? "rows" : "columns";
        var op = new OpBuilder(new Graph(side)) { Scope = "orthonormality/" + side };
        var product = op.Gemm(matrix, matrix, transA: !rows, transB: rows);
        var deviation = op.Sub(product, op.Emit("EyeLike", [product], NodeAttribute.Of("dtype", (long)ElementType.Float32)));
        op.Graph.AddOutput(rows ? op.Gemm(deviation, matrix) : op.Gemm(matrix, deviation));
        op.Graph.AddOutput(op.Unary("Sqrt", op.Reduce("ReduceSumSquare", deviation, false)));
        return op.Graph;
    }

    private static Value Float(OpBuilder op, double value) => op.Constant(InMemoryTensor.Scalar(ElementType.Float32, value));
}
