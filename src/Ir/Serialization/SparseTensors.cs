using System.Runtime.InteropServices;
using SorsaOrt.Ir.Serialization.Proto;

namespace SorsaOrt.Ir.Serialization;

/// <summary>Sparse initializers are not interpreted, but one that points outside of itself is refused.</summary>
internal static class SparseTensors
{
    /// <summary>Throws where an index lies outside the dimensions.</summary>
    public static void Check(SparseTensorProto sparse)
    {
        var name = Quoted.Text(sparse.Values?.Name ?? "");
        if (sparse.Values is null || sparse.Indices is null)
            throw new ModelFormatException($"sparse initializer {name} lacks its values or indices");
        if (sparse.Dims.Count is 0 or > FormatLimits.Rank || sparse.Dims.Any(d => d < 0))
            throw new ModelFormatException($"sparse initializer {name} has impossible dimensions {TensorReader.Shape(sparse.Dims)}");
        var indices = sparse.Indices.HasRawData && sparse.Indices.RawData.Length % sizeof(long) == 0
            ? MemoryMarshal.Cast<byte, long>(sparse.Indices.RawData.Span).ToArray()
            : [.. sparse.Indices.Int64Data];
        Int128 elements = 1;
        foreach (var d in sparse.Dims)
            elements = Int128.Min(elements * d, long.MaxValue);
        var perAxis = sparse.Indices.Dims.Count == 2;
        for (var i = 0; i < indices.Length; i++)
        {
            var bound = perAxis ? sparse.Dims[i % sparse.Dims.Count] : elements;
            if (indices[i] < 0 || indices[i] >= bound)
                throw new ModelFormatException(
                    $"sparse initializer {name} has the index {indices[i]}, outside its dimensions {TensorReader.Shape(sparse.Dims)}");
        }
    }
}
