using System.Globalization;
using System.Text.Json;
using SorsaOrt.Artifacts;
using SorsaOrt.Ir;

namespace SorsaOrt.Export.HuggingFace;

/// <summary>JSON files beside the weights.</summary>
internal static class Json
{
    private const int LongestShown = 60;

    /// <summary>Parses a file that must hold one object, each key once.</summary>
    /// <exception cref="ModelFormatException">It does not, or is longer than <paramref name="longest"/>.</exception>
    public static JsonDocument Read(string path, long longest)
    {
        using var stream = RegularFile.OpenRead(path);
        if (stream.Length > longest)
            throw new ModelFormatException($"{path} holds {stream.Length} bytes, more than any such file has.");
        var bytes = new byte[(int)stream.Length];
        stream.ReadExactly(bytes);
        try
        {
            CheckStrings(bytes);
            var document = JsonDocument.Parse(bytes, new JsonDocumentOptions { MaxDepth = 64, AllowDuplicateProperties = false });
            if (document.RootElement.ValueKind == JsonValueKind.Object)
                return document;
            document.Dispose();
            throw new ModelFormatException($"{path} must hold one JSON object.");
        }
        catch (JsonException e)
        {
            throw new ModelFormatException(string.Create(CultureInfo.InvariantCulture, $"{path} is not valid JSON at line {e.LineNumber + 1}: {e.Message}"), e);
        }
    }

    // JsonElement finds out only when a string is asked for, and then with an exception that names nothing.
    private static void CheckStrings(byte[] bytes)
    {
        var reader = new Utf8JsonReader(bytes, new JsonReaderOptions { MaxDepth = 64 });
        while (reader.Read())
        {
            if (reader.TokenType is not (JsonTokenType.String or JsonTokenType.PropertyName))
                continue;
            try
            {
                reader.GetString();
            }
            catch (InvalidOperationException e)
            {
                throw new JsonException("a string is not valid Unicode (UTF-8 that is none, or half of a surrogate pair)", null, bytes.AsSpan(0, (int)reader.TokenStartIndex).Count((byte)'\n'), null, e);
            }
        }
    }

    /// <summary>A value as it stands, cut when long.</summary>
    public static string Shown(JsonElement value) => value.GetRawText() is { Length: > LongestShown } text ? text[..LongestShown] + "…" : value.GetRawText();
}
