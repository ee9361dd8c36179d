namespace SorsaOrt.Artifacts;

/// <summary>Whether ONNX Runtime keeps packed copies of the frozen weights where nobody says.</summary>
public static class WeightPacking
{
    /// <summary>True when the weights take less than a quarter of the memory there is, and layers are not recomputed to save some.</summary>
    /// <param name="recompute">What the training graph recomputes.</param>
    /// <param name="frozenBytes">Bytes of the frozen weights.</param>
    public static bool IsDefault(Recomputation recompute, long frozenBytes) =>
        recompute == Recomputation.None && frozenBytes < GC.GetGCMemoryInfo().TotalAvailableMemoryBytes / 4;
}
