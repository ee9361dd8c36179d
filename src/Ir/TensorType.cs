namespace SorsaOrt.Ir;

/// <summary>Element type and shape of a value.</summary>
/// <param name="ElementType">Type of each element.</param>
/// <param name="Shape">Dimensions, or null where not even the rank is known.</param>
public sealed record TensorType(ElementType ElementType, IReadOnlyList<Dim>? Shape)
{
    /// <summary>Number of axes, or null where unknown.</summary>
    public int? Rank => Shape?.Count;

    /// <summary>The shape as numbers, or null when any dimension is not a constant.</summary>
    public long[]? StaticShape => Shape is { } s && s.All(d => d.Value.HasValue) ? [.. s.Select(d => d.Value!.Value)] : null;

    /// <inheritdoc/>
    public bool Equals(TensorType? other) => other is not null && ElementType == other.ElementType
        && (Shape is null ? other.Shape is null : other.Shape is not null && Shape.SequenceEqual(other.Shape));

    /// <inheritdoc/>
    public override int GetHashCode() => HashCode.Combine(ElementType, Shape?.Count ?? -1);

    /// <summary><c>f32[batch_size,sequence_length,64]</c>.</summary>
    public override string ToString() => ElementType.ShortName() + (Shape is null ? "[…]" : $"[{string.Join(',', Shape)}]");
}
