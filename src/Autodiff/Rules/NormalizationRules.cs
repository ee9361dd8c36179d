using SorsaOrt.Ir;

namespace SorsaOrt.Autodiff.Rules;

/// <summary>Normalisations over the last axes, in closed form; in float32 where the input is narrower.</summary>
/// <remarks>The reciprocal deviation is computed again: one number per row, cheaper than keeping a second output alive.</remarks>
internal static class NormalizationRules
{
    public static void AddTo(GradientTable table) => table
        .Add("RMSNormalization", (g, node, dY) => Rms(g, node, node.Inputs[0]!, dY))
        .Add("SimplifiedLayerNormalization", (g, node, dY) => Rms(g, node, node.Inputs[0]!, dY))
        .AddManyOutputs("SkipSimplifiedLayerNormalization", SkipRms, "com.microsoft")
        .Add("LayerNormalization", Layer);

    /// <summary>n = x·r with r = 1/√(mean(x²) + ε) gives dx = r·(dn − n·mean(dn·n)) = r·dn − x·r³·mean(dn·x).</summary>
    public static Value ThroughRms(OpBuilder op, Value x, Value r, Value dN, long[] axes)
    {
        var share = op.Mul(op.Mul(op.Mul(r, r), r), Mean(op, op.Mul(dN, x), axes));
        return op.Sub(op.Mul(dN, r), op.Mul(x, share));
    }

    /// <summary>Y = n·γ with n = X/√(mean(X²) + ε) gives dX by <see cref="ThroughRms"/> of dn = dY·γ, and dγ = Σ dY·n.</summary>
    private static IReadOnlyList<Value?> Rms(GradientContext g, Node node, Value input, Value dY) =>
        Normalized(g, node, input, dY, center: false, node.Float("epsilon", 1e-5f), node.Inputs[1]!);

    /// <summary>Y = n·γ + β with n = (X − mean X)/√(var X + ε) gives dX = r·(dn − mean dn − n·mean(dn·n)), dγ = Σ dY·n, dβ = Σ dY.</summary>
    private static IReadOnlyList<Value?> Layer(GradientContext g, Node node, Value dY) =>
        [.. Normalized(g, node, node.Inputs[0]!, dY, center: true, node.Float("epsilon", 1e-5f), node.Inputs[1]!), dY];

    /// <summary>Y = RMS normalisation of h = X + skip + bias, and h again as output 3: dh is the sum of both ways.</summary>
    private static IReadOnlyList<Value?> SkipRms(GradientContext g, Node node, IReadOnlyList<Value?> dY)
    {
        var (op, gamma, bias) = (g.Op, node.Inputs[2]!, node.InputOrNull(3));
        if (dY.Where((_, i) => i is 1 or 2).Any(d => d is not null))
            throw g.Refusal(node, "the loss depends on its mean or deviation", "read only the outputs 0 and 3");
        var (dH, dGamma) = (dY.ElementAtOrDefault(3), (Value?)null);
        if (dY[0] is { } dNormal)
        {
            var h = node.Outputs.ElementAtOrDefault(3) ?? Sum(op, node.Inputs[0]!, node.Inputs[1]!, bias);
            var through = Normalized(g, node, h, dNormal, center: false, node.Float("epsilon", 1e-12f), gamma);
            (dH, dGamma) = (dH is null ? through[0] : op.Add(dH, through[0]!), through[1]);
        }
        return [dH, dH, g.Wants(gamma) ? dGamma ?? g.ZerosLike(gamma) : null, dH];
    }

    private static IReadOnlyList<Value?> Normalized(
        GradientContext g, Node node, Value input, Value dY, bool center, float epsilon, Value gamma)
    {
        var op = g.Op;
        var wide = input.ElementType is ElementType.Float16 or ElementType.BFloat16 ? ElementType.Float32 : input.ElementType;
        var (x, d) = (op.Cast(input, wide), op.Cast(dY, wide));
        var rank = g.Rank(input);
        var first = (int)GradientContext.FromFront(node.Int("axis", -1), rank);
        long[] axes = [.. Enumerable.Range(first, rank - first)];
        if (center)
            x = op.Sub(x, Mean(op, x, axes));
        var r = op.Unary("Reciprocal", op.Unary("Sqrt", op.Add(MeanSquare(op, x, axes), epsilon)));
        var dN = op.Mul(d, op.Cast(gamma, wide));
        if (center)
            dN = op.Sub(dN, Mean(op, dN, axes));
        return
        [
            op.Cast(ThroughRms(op, x, r, dN, axes), input.ElementType),
            g.Wants(gamma) ? op.Cast(op.Mul(d, op.Mul(x, r)), gamma.ElementType) : null,
        ];
    }

    private static Value Sum(OpBuilder op, Value x, Value skip, Value? bias) => bias is null ? op.Add(x, skip) : op.Add(op.Add(x, skip), bias);

    private static Value MeanSquare(OpBuilder op, Value x, long[] axes)
    {
        var lengths = axes.Select(a => x.Shape![(int)a].Value).ToArray();
        return Array.TrueForAll(lengths, n => n is > 0)
            ? op.Mul(op.Reduce("ReduceSumSquare", x, keepDims: true, axes), 1.0 / lengths.Aggregate(1L, (p, n) => p * n!.Value))
            : Mean(op, op.Mul(x, x), axes);
    }

    private static Value Mean(OpBuilder op, Value x, long[] axes) => op.Reduce("ReduceMean", x, keepDims: true, axes);
}
