using SorsaOrt.Ir;

namespace SorsaOrt.Autodiff.Tests;

/// <summary>Checks of softmax, of normalisations, and of RMS normalisation as exporters write it.</summary>
internal static class NormalizationChecks
{
    private static readonly long[] Shape = [2, 3, 6];

    public static IEnumerable<RuleCheck> All =>
    [
        new("Softmax", "last axis", t => t.Op.Softmax(t.Input("X", Shape, -3, 3), -1)),
        new("Softmax", "middle axis", t => t.Op.Softmax(t.Input("X", Shape, -3, 3), 1)),
        new("Softmax", "cleaned of NaN that does not occur", t => Clean(t, t.Op.Softmax(t.Input("X", Shape, -3, 3), -1))),
        new("Softmax", "attention", t => Joined(t, Context(t, t.Op.Softmax(Scores(t), -1), 4))),
        new("Softmax", "attention whose heads share keys", t => Joined(t, Context(t, t.Op.Softmax(Scores(t), -1), 2))),
        new("Softmax", "attention whose context is not turned", t => Context(t, t.Op.Softmax(Scores(t), -1), 2)),
        new("Softmax", "attention cleaned of NaN that does not occur", t => Joined(t, Context(t, Clean(t, t.Op.Softmax(Scores(t), -1)), 4))),
        new("Softmax", "attention whose context has two readers", t =>
        {
            var context = Context(t, t.Op.Softmax(Scores(t), -1), 4);
            return t.Op.Mul(Joined(t, context), t.Op.ReduceSum(t.Op.Unary("Sin", context), false));
        }),
        new("Softmax", "attention whose weights have another reader", t =>
        {
            var weights = t.Op.Softmax(Scores(t), -1);
            return t.Op.Mul(Joined(t, Context(t, weights, 2)), t.Op.ReduceSum(t.Op.Unary("Sin", weights), false));
        }),
        new("LogSoftmax", "last axis", t => LogSoftmax(t, t.Input("X", Shape, -3, 3), -1)),
        new("LogSoftmax", "first axis", t => LogSoftmax(t, t.Input("X", Shape, -3, 3), 0)),
        new("LogSoftmax", "cross entropy", t => CrossEntropy.Build(t.Op, t.Input("X", [4, 7], -3, 3), t.Integers("labels", [4], 6, 0, 3, 3))),
        new("LogSoftmax", "cross entropy whose probabilities have another reader", t =>
        {
            var loss = CrossEntropy.Build(t.Op, t.Input("X", [4, 7], -3, 3), t.Integers("labels", [4], 6, 0, 3, 3));
            return t.Op.Add(loss, t.Op.Unary("Exp", t.Op.Graph.Nodes.Single(n => n.OpType == "LogSoftmax").Output));
        }),
        new("SimplifiedLayerNormalization", "last axis", t => Rms(t, "SimplifiedLayerNormalization", X(t), -1, [6])),
        new("RMSNormalization", "last axis", t => Rms(t, "RMSNormalization", X(t), -1, [6])) { Opset = 23 },
        new("RMSNormalization", "two axes", t => Rms(t, "RMSNormalization", X(t), 1, [3, 6])) { Opset = 23 },
        new("LayerNormalization", "last axis, bias", t => t.Op.Emit("LayerNormalization", [X(t), t.Input("gamma", [6]), t.Input("beta", [6])])),
        new("LayerNormalization", "two axes", t => t.Op.Emit("LayerNormalization", [X(t), t.Input("gamma", [3, 6])], NodeAttribute.Of("axis", 1))),
        // ORT has no float64 kernel of it.
        Skip("both outputs", bias: false, (op, norm, sum) => op.Add(norm, op.Unary("Sin", sum))),
        Skip("only the sum, bias", bias: true, (op, _, sum) => op.Unary("Sin", sum)),
        Skip("only the norm, bias", bias: true, (_, norm, _) => norm),
        .. ((string[])["Reciprocal", "Div", "Pow"]).SelectMany(form => (RuleCheck[])
        [
            new("Mul", $"RMS normalisation by {form}", t => Written(t, X(t), form, t.Op.Mul)),
            new("Mul", $"RMS normalisation by {form}, turned round", t => Written(t, X(t), form, (x, r) => t.Op.Mul(r, x))),
            new("Mul", $"looks like RMS normalisation by {form}", t => Written(t, X(t), form, (_, r) => t.Op.Mul(t.Input("Z", Shape), r))),
        ]),
    ];

    private static Value X(TestGraph t) => t.Input("X", Shape, -2, 2);

    private static Value Scores(TestGraph t) => t.Input("X", [2, 4, 3, 5], -3, 3);

    // weights·v [2, 4, 3, 6], v with some heads.
    private static Value Context(TestGraph t, Value weights, long heads)
    {
        var v = t.Input("V", [2, heads, 5, 6]);
        return heads == 4 ? t.Op.MatMul(weights, v) : t.Op.Reshape(t.Op.MatMul(t.Op.Reshape(weights, 0, heads, -1, 5), v), 0, 4, -1, 6);
    }

    private static Value Joined(TestGraph t, Value context) => t.Op.Reshape(t.Op.Transpose(context, 0, 2, 1, 3), 0, 0, 24);

    private static Value LogSoftmax(TestGraph t, Value x, long axis) => t.Op.Emit("LogSoftmax", [x], NodeAttribute.Of("axis", axis));

    /// <summary>Where(IsNaN(y), 0, y), as exporters of attention write it.</summary>
    public static Value Clean(TestGraph t, Value y) => t.Op.Where(t.Op.Emit("IsNaN", [y]), t.Op.Scalar(0, y), y);

    private static Value Rms(TestGraph t, string op, Value x, long axis, long[] gamma) =>
        t.Op.Emit(op, [x, t.Input("gamma", gamma)], NodeAttribute.Of("axis", axis), NodeAttribute.Of("epsilon", 1e-2f));

    private static RuleCheck Skip(string what, bool bias, Func<OpBuilder, Value, Value, Value> use)
    {
        static Value[] Inputs(TestGraph t, bool bias) => [X(t), t.Input("skip", Shape), t.Input("gamma", [6]), .. bias ? (Value[])[t.Input("bias", [6])] : []];
        return new("com.microsoft::SkipSimplifiedLayerNormalization", what, t =>
        {
            var o = t.Op.Emit("SkipSimplifiedLayerNormalization", "com.microsoft", 4, Inputs(t, bias), NodeAttribute.Of("epsilon", 1e-2f));
            return use(t.Op, o[0], o[3]);
        })
        {
            Composed = t =>
            {
                var (op, inputs) = (t.Op, Inputs(t, bias));
                var sum = op.Add(inputs[0], inputs[1]);
                sum = bias ? op.Add(sum, inputs[3]) : sum;
                var root = op.Unary("Sqrt", op.Add(op.Reduce("ReduceMean", op.Mul(sum, sum), true, -1), 1e-2));
                // Gamma leads to the loss in the fused node also where only the sum is read: it gets zeros there.
                var norm = op.Mul(op.Div(sum, root), inputs[2]);
                return op.Add(use(op, norm, sum), op.Mul(norm, 0));
            },
        };
    }

    private static Value Written(TestGraph t, Value x, string form, Func<Value, Value, Value> multiply)
    {
        var op = t.Op;
        var mean = op.Add(op.Reduce("ReduceMean", op.Emit("Pow", [x, op.Scalar(2, x)]), true, -1), 1e-2);
        return multiply(x, form switch
        {
            "Pow" => op.Emit("Pow", [mean, op.Scalar(-0.5, x)]),
            "Div" => op.Div(op.Scalar(1, x), op.Unary("Sqrt", mean)),
            _ => op.Unary("Reciprocal", op.Unary("Sqrt", mean)),
        });
    }
}
