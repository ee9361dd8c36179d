using System.Text.Json;
using System.Text.Json.Serialization;
using SorsaOrt.Artifacts;

namespace SorsaOrt.Trainer;

/// <summary>A file that a run was started with: a resumed run must find the same bytes.</summary>
/// <param name="Role">What it is for: the option that names it.</param>
/// <param name="Path">Path as the user gave it.</param>
/// <param name="Size">Bytes.</param>
/// <param name="Sha256">SHA-256, 64 lower-case hex digits.</param>
public sealed record RunInput(string Role, string Path, long Size, string Sha256);

/// <summary>What run.json holds, and every checkpoint again: all that is needed to go on.</summary>
public sealed record RunRecord
{
    /// <summary>Name of the file in a run folder.</summary>
    public const string FileName = "run.json";

    /// <summary>The settings, with device and threads as resolved.</summary>
    public required RunSettings Settings { get; init; }

    /// <summary><see cref="ArtifactSet.Hash"/> of the artifacts.</summary>
    public required string ManifestHash { get; init; }

    /// <summary>Folder that relative paths of the settings started from.</summary>
    public required string WorkingFolder { get; init; }

    /// <summary>Optimizer steps of the whole run.</summary>
    public required long TotalSteps { get; init; }

    /// <summary>The files read.</summary>
    public required IReadOnlyList<RunInput> Inputs { get; init; }

    /// <summary>What the run was begun on; null in the record of an older program.</summary>
    public RunEnvironment? Environment { get; init; }

    private static readonly JsonSerializerOptions Json = new()
    {
        WriteIndented = true,
        NewLine = "\n",
        PropertyNamingPolicy = JsonNamingPolicy.SnakeCaseLower,
        DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull,
        UnmappedMemberHandling = JsonUnmappedMemberHandling.Disallow,
        RespectNullableAnnotations = true,
        AllowDuplicateProperties = false,
        Converters = { new JsonStringEnumConverter(JsonNamingPolicy.KebabCaseLower, allowIntegerValues: false) },
    };

    /// <summary>Writes RUN/run.json.</summary>
    public void Write(string runFolder) =>
        AtomicFile.Write(Path.Combine(runFolder, FileName), JsonSerializer.SerializeToUtf8Bytes(this, Json), force: true);

    /// <summary>Reads RUN/run.json.</summary>
    /// <exception cref="ArtifactMismatchException">It is missing or not what a run writes.</exception>
    public static RunRecord Read(string runFolder)
    {
        var path = Path.Combine(Path.GetFullPath(runFolder), FileName);
        try
        {
            return Checked(JsonSerializer.Deserialize<RunRecord>(File.ReadAllBytes(path), Json), path);
        }
        catch (Exception e) when (e is JsonException or IOException or UnauthorizedAccessException)
        {
            throw new ArtifactMismatchException(path, $"'{path}' cannot be read as the record of a run: {e.Message} Give a folder that sorsa train wrote.", e);
        }
    }

    /// <summary>As the options of a checkpoint.</summary>
    internal IReadOnlyDictionary<string, JsonElement> ToOptions()
    {
        var element = JsonSerializer.SerializeToElement(this, Json);
        return element.EnumerateObject().ToDictionary(p => p.Name, p => p.Value.Clone(), StringComparer.Ordinal);
    }

    /// <summary>From the options of a checkpoint.</summary>
    internal static RunRecord FromOptions(IReadOnlyDictionary<string, JsonElement> options, string checkpoint)
    {
        try
        {
            return Checked(JsonSerializer.SerializeToElement(options).Deserialize<RunRecord>(Json), checkpoint);
        }
        catch (JsonException e)
        {
            throw new ArtifactMismatchException(checkpoint, $"The options in '{checkpoint}' are not those of a run: {e.Message}", e);
        }
    }

    /// <summary>Where a path of the settings leads: from the present folder if it is there, else from where the run was started.</summary>
    public string Resolve(string path) =>
        Path.IsPathRooted(path) || Path.Exists(path) ? path : Path.Combine(WorkingFolder, path);

    private static RunRecord Checked(RunRecord? record, string path)
    {
        if (record is null || record.TotalSteps < 1)
            throw new ArtifactMismatchException(path, $"'{path}' is not the record of a run.");
        record.Settings.Validated();
        return record;
    }
}
