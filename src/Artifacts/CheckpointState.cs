using System.Text.Json;
using System.Text.Json.Serialization;

namespace SorsaOrt.Artifacts;

/// <summary>Where a run stands: everything beside the values that resuming needs.</summary>
public sealed record CheckpointState
{
    /// <summary>The version this program writes and reads.</summary>
    public const int CurrentVersion = 1;

    /// <summary>Version of the checkpoint's format.</summary>
    [JsonRequired]
    public int FormatVersion { get; init; } = CurrentVersion;

    /// <summary><see cref="ArtifactSet.Hash"/> of the artifacts it belongs to.</summary>
    [JsonRequired]
    public string ManifestHash { get; init; } = "";

    /// <summary>Optimizer steps done.</summary>
    [JsonRequired]
    public long Step { get; init; }

    /// <summary>Micro-batches used so far; the order of rows follows from (seed, epoch).</summary>
    [JsonRequired]
    public long MicroBatchIndex { get; init; }

    /// <summary>Seed of the run.</summary>
    [JsonRequired]
    public long Seed { get; init; }

    /// <summary>Random state as numbers, by name.</summary>
    [JsonRequired]
    public IReadOnlyDictionary<string, ulong> RandomState { get; init; } = new Dictionary<string, ulong>();

    /// <summary>Further whole numbers by name, such as evaluations without improvement.</summary>
    [JsonRequired]
    public IReadOnlyDictionary<string, long> Counters { get; init; } = new Dictionary<string, long>();

    /// <summary>All options of the run as resolved.</summary>
    [JsonRequired]
    public IReadOnlyDictionary<string, JsonElement> Options { get; init; } = new Dictionary<string, JsonElement>();

    /// <summary>Lowest evaluation loss so far (nats per label token).</summary>
    public double? BestEvalLoss { get; init; }

    /// <summary>Every other file of the checkpoint.</summary>
    [JsonRequired]
    public IReadOnlyList<FileEntry> Files { get; init; } = [];
}
