using System.Security.Cryptography;

namespace SorsaOrt.Artifacts;

/// <summary>Size in bytes and SHA-256 (64 lower-case hex digits) of a file.</summary>
public sealed record FileDigest(long Size, string Sha256)
{
    private const int ChunkBytes = 1 << 20;

    /// <summary>Reads a whole file and hashes it, in chunks of 1 MiB.</summary>
    public static FileDigest Of(string path)
    {
        using FileStream stream = RegularFile.OpenRead(path);
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        byte[] chunk = new byte[(int)Math.Clamp(stream.Length, 1, ChunkBytes)];
        long size = 0;
        for (int read; (read = stream.Read(chunk)) > 0; size += read)
            hash.AppendData(chunk, 0, read);
        return new FileDigest(size, Convert.ToHexStringLower(hash.GetHashAndReset()));
    }

    /// <summary>The digest of bytes in memory.</summary>
    public static FileDigest Of(ReadOnlySpan<byte> bytes) => new(bytes.Length, Convert.ToHexStringLower(SHA256.HashData(bytes)));
}
