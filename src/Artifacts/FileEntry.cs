using System.Text.Json.Serialization;

namespace SorsaOrt.Artifacts;

/// <summary>A file of an artifact or checkpoint folder.</summary>
public sealed record FileEntry
{
    /// <summary>Path inside the folder, segments joined by '/'.</summary>
    [JsonRequired]
    public string Path { get; init; } = "";

    /// <summary>Size in bytes.</summary>
    [JsonRequired]
    public long Size { get; init; }

    /// <summary>SHA-256, 64 lower-case hex digits.</summary>
    [JsonRequired]
    public string Sha256 { get; init; } = "";
}

/// <summary>From digests to entries.</summary>
public static class FileDigests
{
    /// <summary>The entry of a file with this digest.</summary>
    public static FileEntry At(this FileDigest digest, string path) => new() { Path = path, Size = digest.Size, Sha256 = digest.Sha256 };
}
