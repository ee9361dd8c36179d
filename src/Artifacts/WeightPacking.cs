namespace SorsaOrt.Artifacts;

/// <summary>Whether ONNX Runtime keeps packed copies of the frozen weights where nobody says.</summary>
public static class WeightPacking
{
    /// <summary>True when the weights take less than a quarter of the memory there is.</summary>
    /// <remarks>A graph that recomputes layers to save memory names few weights that may be packed: those it multiplies no more than twice.</remarks>
    /// <param name="frozenBytes">Bytes of the frozen weights.</param>
    public static bool IsDefault(long frozenBytes) => frozenBytes < GC.GetGCMemoryInfo().TotalAvailableMemoryBytes / 4;
}
