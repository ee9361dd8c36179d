namespace SorsaOrt.Ir;

/// <summary>Matrix products.</summary>
internal static class MatMulShapes
{
    public static void AddTo(ShapeRuleTable table) => table
        .Add(MatMul, "MatMul")
        .Add(Gemm, "Gemm")
        .Add(n => n.Set(0, ElementType.Int32, Product(n.Shape(0), n.Shape(1))), "MatMulInteger")
        .AddMicrosoft(FusedMatMul, "FusedMatMul", "TransposeMatMul")
        .AddMicrosoft(MatMulNBits, "MatMulNBits", "MatMulBnb4");

    private static void MatMul(NodeInference n)
    {
        n.RequireSameType(0, 1);
        n.Set(0, n.ElementType(0), Product(n.Shape(0), n.Shape(1)));
    }

    /// <summary>alpha·A'·B' + beta·C of matrices: [M, N].</summary>
    private static void Gemm(NodeInference n)
    {
        var (a, b) = (n.Shape(0), n.Shape(1));
        if (a is not null && a.Count != 2 || b is not null && b.Count != 2)
            throw new ArgumentException("Gemm of tensors that are not matrices");
        n.RequireSameType(0, 1);
        if (a is not null && b is not null)
            RequireSameLength(a[n.Node.Int("transA", 0) != 0 ? 0 : 1], b[n.Node.Int("transB", 0) != 0 ? 1 : 0]);
        Dim rows = a is null ? Dim.Unknown : a[n.Node.Int("transA", 0) != 0 ? 1 : 0];
        Dim columns = b is null ? Dim.Unknown : b[n.Node.Int("transB", 0) != 0 ? 0 : 1];
        n.Set(0, n.ElementType(0), [rows, columns]);
    }

    /// <summary>MatMul of operands whose last two axes, or whose matrix batch axes, are transposed first.</summary>
    private static void FusedMatMul(NodeInference n) => n.Set(0, n.ElementType(0), Product(
        Transposed(n.Shape(0), n.Node.Int("transA", 0) != 0, n.Node.Int("transBatchA", 0) != 0),
        Transposed(n.Shape(1), n.Node.Int("transB", 0) != 0, n.Node.Int("transBatchB", 0) != 0)));

    /// <summary>A [..., K] times a quantised matrix of N columns: [..., N].</summary>
    private static void MatMulNBits(NodeInference n) =>
        n.Set(0, n.ElementType(0), n.Shape(0) is { } a ? [.. a.Take(a.Count - 1), n.Node.Int("N", 0)] : null);

    private static IReadOnlyList<Dim>? Transposed(IReadOnlyList<Dim>? shape, bool matrix, bool batch)
    {
        if (shape is null || shape.Count < 2)
            return shape;
        var dims = shape.ToList();
        if (batch)
        {
            // The first axis moves behind the other batch axes: [b, m, k] with m in the batch's place is read as [m, b, k].
            var first = dims[0];
            dims.RemoveAt(0);
            dims.Insert(dims.Count - 1, first);
        }
        if (matrix)
            (dims[^1], dims[^2]) = (dims[^2], dims[^1]);
        return dims;
    }

    /// <summary>[..., m, k] · [..., k, n] = [..., m, n]; a vector on either side loses its axis.</summary>
    private static IReadOnlyList<Dim>? Product(IReadOnlyList<Dim>? a, IReadOnlyList<Dim>? b)
    {
        if (a is null || b is null)
            return null;
        if (a.Count == 0 || b.Count == 0)
            throw new ArgumentException("a matrix product with a scalar");
        RequireSameLength(a[^1], b[b.Count > 1 ? ^2 : ^1]);
        var batch = NodeInference.Broadcast([.. a.Take(a.Count - 2)], [.. b.Take(b.Count - 2)])!;
        var result = batch.ToList();
        if (a.Count > 1)
            result.Add(a[^2]);
        if (b.Count > 1)
            result.Add(b[^1]);
        return result;
    }

    private static void RequireSameLength(Dim ofFirst, Dim ofSecond)
    {
        if (ofFirst.Value is { } first && ofSecond.Value is { } second && first != second)
            throw new ArgumentException($"the product is over {first} elements on the left and {second} on the right");
    }
}
