using SorsaOrt.Ir;

namespace SorsaOrt.GraphBuilder;

/// <summary>Puts the residuals of Linears that share a packed weight together, so that training multiplies one matrix as the model does.</summary>
/// <remarks>Parts that are not trained keep their weights. A packed residual is in memory from its first target to its last.</remarks>
internal sealed class PackedResiduals(IReadOnlyList<LinearSite> targets, ElementType type)
{
    private readonly Dictionary<string, int> _missing = targets.Where(t => t.SliceStart is not null).GroupBy(t => t.Weight.Name, StringComparer.Ordinal)
        .ToDictionary(g => g.Key, g => g.Count(), StringComparer.Ordinal);
    private readonly Dictionary<string, Array> _open = new(StringComparer.Ordinal);

    /// <summary>Takes in the residual of one target and returns the packed one when it was the last.</summary>
    public Array? Add(LinearSite site, ReadOnlySpan<byte> residual)
    {
        var (name, slice) = (site.Weight.Name, site.Slice!.Value);
        if (!_open.TryGetValue(name, out var packed))
            _open[name] = packed = FrozenResidual.Encode(site.ReadStored(), type);
        var bytes = checked((int)type.ByteSize(1));
        var target = FrozenResidual.Bytes(packed);
        if (site.Transposed)
            (slice with { StoredOut = slice.StoredOut * bytes, Start = slice.Start * bytes, Out = slice.Out * bytes }).Put(residual, target);
        else
            (slice with { In = slice.In * bytes }).Put(residual, target);
        if (--_missing[name] > 0)
            return null;
        _open.Remove(name);
        return packed;
    }
}
