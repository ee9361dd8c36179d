using SorsaOrt.Artifacts;
using SorsaOrt.Ir;
using SorsaOrt.Ir.Serialization;

namespace SorsaOrt.Merge;

/// <summary>Names of a merged model's data files: those of the user's model, unless something else beside the output has the name.</summary>
/// <remarks>Beside the output may stand the very model that the artifacts were built from, or another merged one with data of the same name. Only data that the
/// output being replaced reads, and that is no source, is written over; everything else keeps its bytes, so that no model loses its weights before the new one is whole.</remarks>
internal static class DataFileNames
{
    /// <summary>A name below the output's folder for each of the model's <paramref name="locations"/>.</summary>
    public static IReadOnlyDictionary<string, string> Choose(ArtifactSet artifacts, IEnumerable<string> locations, string outputPath, bool force)
    {
        var folder = Path.GetDirectoryName(Path.GetFullPath(outputPath))!;
        var own = force ? DataOf(artifacts, outputPath) : [];
        var chosen = new Dictionary<string, string>(StringComparer.Ordinal);
        bool IsFree(string name) => (own.Contains(name) || !Path.Exists(Path.Combine(folder, name))) && !chosen.ContainsValue(name);
        var output = Path.GetFileName(outputPath);
        foreach (var location in locations.Distinct(StringComparer.Ordinal))
            chosen[location] = new[] { location, output + ".data" }.Concat(Enumerable.Range(1, int.MaxValue - 1).Select(i => $"{output}.{i}.data")).First(IsFree);
        return chosen;
    }

    // The data files that an earlier output at that place reads; none where it is the source model or no model at all.
    private static HashSet<string> DataOf(ArtifactSet artifacts, string outputPath)
    {
        if (!File.Exists(outputPath))
            return [];
        try
        {
            if (FileDigest.Of(outputPath).Sha256 == artifacts.Manifest.Source.Sha256)
                return [];
            using var old = OnnxReader.Read(outputPath);
            return [.. old.ExternalLocations.Values.Select(l => l.Location)];
        }
        catch (Exception e) when (e is ModelFormatException or IOException or UnauthorizedAccessException)
        {
            return [];
        }
    }
}
