using SorsaOrt.Artifacts;
using SorsaOrt.Ir;

namespace SorsaOrt.GraphBuilder;

/// <summary>What the manifest keeps of the user's model, so that merge can write the same file again.</summary>
internal static class SourceDescription
{
    public static SourceModel Of(string path, Model model, string family)
    {
        var digest = FileDigest.Of(path);
        var folder = Path.GetDirectoryName(Path.GetFullPath(path))!;
        return new SourceModel
        {
            FileName = Path.GetFileName(path),
            Size = digest.Size,
            Sha256 = digest.Sha256,
            ExternalFiles = [.. model.ExternalLocations.Values.Select(l => l.Location).Distinct().Order(StringComparer.Ordinal)
                .Select(l => new SourceDataFile { Path = l, Size = new FileInfo(Path.Combine(folder, l)).Length })],
            Family = family,
            ProducerName = model.ProducerName,
            ProducerVersion = model.ProducerVersion,
            Opset = checked((int)model.Opset),
        };
    }

    public static IReadOnlyList<ExternalTensorPlace> ExternalTensors(Model model) =>
        [.. model.ExternalLocations.Select(l => new ExternalTensorPlace
        {
            Name = l.Key,
            Location = l.Value.Location,
            Offset = l.Value.Offset,
            Length = l.Value.Length,
            Others = l.Value.Others.Count == 0 ? null : l.Value.Others.ToDictionary(),
        })];
}
