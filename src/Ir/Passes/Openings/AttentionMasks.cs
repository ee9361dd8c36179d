namespace SorsaOrt.Ir.Passes;

/// <summary>Which key a query may see, as truth values and as what is added to the scores.</summary>
internal static class AttentionMasks
{
    /// <summary>0, 1, … as [length of an axis of x].</summary>
    public static Value Positions(OpBuilder op, Value x, int axis)
    {
        var length = op.Squeeze(AttentionCore.Length(op, x, axis), 0);
        return op.Emit("Range", [op.Constant(InMemoryTensor.Scalar(ElementType.Int64, 0)), length, op.Constant(InMemoryTensor.Scalar(ElementType.Int64, 1))]);
    }

    /// <summary>bool [S, T]: key j ≤ query i, and not further back than <paramref name="window"/> keys where that is positive.</summary>
    public static Value Causal(OpBuilder op, Value query, int queryAxis, Value key, int keyAxis, long window = 0)
    {
        var (rows, columns) = (op.Unsqueeze(Positions(op, query, queryAxis), 1), op.Unsqueeze(Positions(op, key, keyAxis), 0));
        var seen = op.Emit("LessOrEqual", [columns, rows]);
        if (window <= 0)
            return seen;
        var near = op.Emit("Greater", [columns, op.Add(rows, op.Constant(InMemoryTensor.Scalar(ElementType.Int64, -window)))]);
        return op.Emit("And", [seen, near]);
    }

    /// <summary>0 where true, the lowest finite number where false: a row that is masked whole stays finite.</summary>
    public static Value Additive(OpBuilder op, Value seen, ElementType type) => op.Where(seen, op.Constant(InMemoryTensor.Scalar(type, 0)),
        op.Constant(InMemoryTensor.Scalar(type, type == ElementType.Float64 ? double.MinValue : float.MinValue)));

    /// <summary>Both masks; either may be null. Truth values are joined as such, so that nothing is added to the lowest number.</summary>
    public static Value? Join(OpBuilder op, Value? seen, Value? mask, ElementType type)
    {
        if (mask is { ElementType: ElementType.Bool })
            (seen, mask) = (seen is null ? mask : op.Emit("And", [seen, mask]), null);
        var added = seen is null ? null : Additive(op, seen, type);
        return added is null ? mask : mask is null ? added : op.Add(mask, added);
    }
}
