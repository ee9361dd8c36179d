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

/// <summary>What run.json holds, under its own checksum, and every checkpoint again: all that is needed to go on.</summary>
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

    private const int CurrentVersion = 1;

    private static readonly JsonSerializerOptions Json = new()
    {
        PropertyNamingPolicy = JsonNamingPolicy.SnakeCaseLower,
        DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull,
        UnmappedMemberHandling = JsonUnmappedMemberHandling.Disallow,
        RespectNullableAnnotations = true,
        AllowDuplicateProperties = false,
    };

    /// <summary>Version of the record's format.</summary>
    public int FormatVersion { get; init; } = CurrentVersion;

    /// <summary>Writes RUN/run.json.</summary>
    public void Write(string runFolder) => AtomicFile.Write(Path.Combine(runFolder, FileName), SealedJson.Serialize(this), force: true);

    /// <summary>Reads RUN/run.json.</summary>
    /// <exception cref="ArtifactMismatchException">It is missing or not what a run writes.</exception>
    public static RunRecord Read(string runFolder)
    {
        var path = Path.Combine(Path.GetFullPath(runFolder), FileName);
        return Checked(SealedJson.Read<RunRecord>(path, CurrentVersion, "give RUN, the --out folder of a sorsa train, or train anew.").Value, path);
    }

    /// <summary>As bytes, for the other ranks.</summary>
    internal byte[] ToJson() => JsonSerializer.SerializeToUtf8Bytes(this, Json);

    /// <summary>What <see cref="ToJson"/> gave on another rank.</summary>
    internal static RunRecord FromJson(byte[] json) => JsonSerializer.Deserialize<RunRecord>(json, Json)!;

    /// <summary>As the options of a checkpoint.</summary>
    internal IReadOnlyDictionary<string, JsonElement> ToOptions()
    {
        var element = JsonSerializer.SerializeToElement(this, Json);
        return element.EnumerateObject().ToDictionary(p => p.Name, p => p.Value.Clone(), StringComparer.Ordinal);
    }

    /// <summary>Whether a checkpoint with these options is one of this run.</summary>
    internal bool Owns(IReadOnlyDictionary<string, JsonElement> options)
    {
        var own = ToOptions();
        return own.Count == options.Count && own.All(p => options.TryGetValue(p.Key, out var other) && JsonElement.DeepEquals(p.Value, other));
    }

    /// <summary>Where a path of the settings leads: from the present folder if it is there, else from where the run was started.</summary>
    public string Resolve(string path) =>
        Path.IsPathRooted(path) || Path.Exists(path) ? path : Path.Combine(WorkingFolder, path);

    private static RunRecord Checked(RunRecord record, string path)
    {
        if (record.TotalSteps < 1)
            throw new ArtifactMismatchException(path, $"'{path}' is not the record of a run.");
        record.Settings.Validated();
        return record;
    }
}
