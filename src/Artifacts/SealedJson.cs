using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using System.Text.Json.Serialization;
using System.Text.RegularExpressions;

namespace SorsaOrt.Artifacts;

/// <summary>JSON files that carry their own checksum as the last key: any changed byte is noticed.</summary>
/// <remarks>"checksum" is the SHA-256 of the file's bytes with those 64 digits replaced by zeros.</remarks>
public static partial class SealedJson
{
    private const int MaxBytes = 256 << 20;
    private const int MaxDepth = 32;
    private const int Digits = 64;

    private static readonly byte[] Key = "\"checksum\": \""u8.ToArray();
    private static readonly byte[] End = "\"\n}\n"u8.ToArray();
    private static readonly string Zeros = new('0', Digits);

    private static readonly JsonSerializerOptions Options = new()
    {
        WriteIndented = true,
        NewLine = "\n",
        MaxDepth = MaxDepth,
        PropertyNamingPolicy = JsonNamingPolicy.SnakeCaseLower,
        DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull,
        UnmappedMemberHandling = JsonUnmappedMemberHandling.Disallow,
        RespectNullableAnnotations = true,
        AllowDuplicateProperties = false,
    };

    /// <summary>The value with its checksum as UTF-8 text; the same value gives the same bytes.</summary>
    public static byte[] Serialize<T>(T value)
    {
        string json = JsonSerializer.Serialize(value, Options);
        byte[] bytes = Encoding.UTF8.GetBytes($"{json[..^2]},\n  \"checksum\": \"{Zeros}\"\n}}\n");
        int at = ChecksumAt(bytes);
        Encoding.ASCII.GetBytes(Convert.ToHexStringLower(SHA256.HashData(bytes))).CopyTo(bytes, at);
        return bytes;
    }

    /// <summary>Reads a whole file and checks form, version and checksum, in that order: the most telling complaint comes first.</summary>
    /// <exception cref="ArtifactMismatchException">The file is damaged, absent, or of another version; the message says what to do.</exception>
    public static (T Value, byte[] Bytes) Read<T>(string path, int version, string advice)
        where T : class
    {
        byte[] bytes = ReadBytes(path, advice);
        return (Parse<T>(bytes, path, version, advice), bytes);
    }

    /// <summary>As <see cref="Read"/>, of bytes that stand in the file <paramref name="path"/>.</summary>
    /// <exception cref="ArtifactMismatchException">They are damaged or of another version; the message says what to do.</exception>
    internal static T Parse<T>(byte[] bytes, string path, int version, string advice)
        where T : class
    {
        T value;
        try
        {
            CheckVersion(path, bytes, version, advice);
            value = JsonSerializer.Deserialize<T>(RemoveChecksum(bytes), Options) ?? throw new JsonException("it is null");
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException)
        {
            throw new ArtifactMismatchException(path, $"{Text.Quote(path)} is damaged or was edited: {Problem(e)}; {advice}", e);
        }
        if (!HasRightChecksum(bytes))
            throw new ArtifactMismatchException(path, $"{Text.Quote(path)} is damaged or was edited: it does not match its own checksum; {advice}");
        return value;
    }

    private static byte[] ReadBytes(string path, string advice)
    {
        try
        {
            using FileStream stream = RegularFile.OpenRead(path);
            if (stream.Length > MaxBytes)
                throw new ArtifactMismatchException(path, $"{Text.Quote(path)} holds {stream.Length} bytes, more than any such file has; {advice}");
            byte[] bytes = new byte[stream.Length];
            stream.ReadExactly(bytes);
            return bytes;
        }
        catch (FileNotFoundException e)
        {
            throw new ArtifactMismatchException(path, $"{Text.Quote(path)} is missing; {advice}", e);
        }
    }

    private static void CheckVersion(string path, byte[] bytes, int version, string advice)
    {
        using var document = JsonDocument.Parse(bytes, new JsonDocumentOptions { MaxDepth = MaxDepth });
        if (document.RootElement.ValueKind != JsonValueKind.Object)
            throw new JsonException("it is not a JSON object");
        if (!document.RootElement.TryGetProperty("format_version", out JsonElement found))
            throw new JsonException("the key 'format_version' is missing");
        if (found.ValueKind != JsonValueKind.Number || !found.TryGetInt32(out int number))
            throw new JsonException("the key 'format_version' is not a whole number");
        if (number != version)
        {
            throw new ArtifactMismatchException(path, $"{Text.Quote(path)} has format_version {number}, this program reads {version}; " +
                $"use the version of sorsa that wrote it, or {advice}");
        }
    }

    /// <summary>The text without its last key, so that the rest maps onto the record.</summary>
    private static ReadOnlySpan<byte> RemoveChecksum(byte[] bytes)
    {
        int at = ChecksumAt(bytes);
        int comma = at < 0 ? -1 : bytes.AsSpan(0, at).LastIndexOf((byte)',');
        if (comma < 0)
            throw new JsonException("the key 'checksum' is missing at its end");
        byte[] rest = [.. bytes.AsSpan(0, comma), (byte)'}'];
        return rest;
    }

    private static bool HasRightChecksum(byte[] bytes)
    {
        int at = ChecksumAt(bytes);
        byte[] blank = [.. bytes];
        blank.AsSpan(at, Digits).Fill((byte)'0');
        return Convert.ToHexStringLower(SHA256.HashData(blank)) == Encoding.ASCII.GetString(bytes, at, Digits);
    }

    /// <summary>Where the digits of the checksum begin: it is the last key of a file as <see cref="Serialize"/> ends it.</summary>
    private static int ChecksumAt(byte[] bytes)
    {
        int at = bytes.Length - End.Length - Digits;
        return at >= Key.Length && bytes.AsSpan().EndsWith(End) && bytes.AsSpan(at - Key.Length).StartsWith(Key) ? at : -1;
    }

    /// <summary>The serializer's complaint in the file's own terms: which key, which line.</summary>
    private static string Problem(Exception e)
    {
        if (e is not JsonException json)
            return "it holds text that is not valid Unicode";
        string where = json.LineNumber is { } line ? $" (line {line + 1}{(json.Path is { } key and not "$" ? $", at {Text.Quote(key)}" : "")})" : "";
        if (Unknown().Match(json.Message) is { Success: true } unknown)
            return $"the key {Text.Quote(unknown.Groups[1].Value)} is unknown{where}";
        if (Missing().Match(json.Message) is { Success: true } missing)
            return $"missing keys: {missing.Groups[1].Value}{where}";
        if (Duplicate().Match(json.Message) is { Success: true } duplicate)
            return $"the key {Text.Quote(duplicate.Groups[1].Value)} stands twice{where}";
        if (json.Path is not null)
            return $"a value is of the wrong kind, null or out of range{where}";
        return json.Message.TrimEnd('.');
    }

    [GeneratedRegex("^The JSON property '(.*?)' could not be mapped")]
    private static partial Regex Unknown();

    [GeneratedRegex(@"missing required properties including: (.*?)\.( Path:|$)")]
    private static partial Regex Missing();

    [GeneratedRegex("^Duplicate property '(.*?)'")]
    private static partial Regex Duplicate();
}
