using System.Text.Json;
using SorsaOrt.Data.TokenizerJson;

namespace SorsaOrt.Data;

/// <summary>What the files beside a tokenizer say of its tokens: generation_config.json, config.json and tokenizer_config.json.</summary>
/// <remarks>
/// A model's own eos_token_id (generation_config.json before config.json) counts more than the tokenizer's eos_token, which
/// conversions are known to get wrong; where the model lists several, the tokenizer's says which of them an answer is trained to end with.
/// </remarks>
internal sealed record TokenizerSettings
{
    private const long MostBytes = 8 << 20;

    /// <summary>Nothing beside it.</summary>
    public static TokenizerSettings None { get; } = new();

    /// <summary>eos_token_id of the model, one or several.</summary>
    public IReadOnlyList<int> EndIds { get; private init; } = [];

    /// <summary>pad_token_id of the model.</summary>
    public int? PaddingId { get; private init; }

    /// <summary>eos_token of the tokenizer.</summary>
    public string? Eos { get; private init; }

    /// <summary>bos_token of the tokenizer.</summary>
    public string? Bos { get; private init; }

    /// <summary>pad_token of the tokenizer.</summary>
    public string? Padding { get; private init; }

    /// <summary>add_bos_token of the tokenizer.</summary>
    public bool AddsBos { get; private init; }

    /// <summary>Reads the files of a folder.</summary>
    /// <exception cref="DataFormatException">One of them is there and cannot be understood.</exception>
    public static TokenizerSettings Beside(string tokenizerPath)
    {
        string folder = Path.GetDirectoryName(Path.GetFullPath(tokenizerPath))!;
        var settings = None;
        foreach (string name in (string[])["config.json", "generation_config.json"])
            settings = Read(Path.Combine(folder, name), settings, WithModel);
        return Read(Path.Combine(folder, "tokenizer_config.json"), settings, WithTokenizer);
    }

    private static TokenizerSettings WithModel(JsonElement config, TokenizerSettings settings) => settings with
    {
        EndIds = config.OrNull("eos_token_id") switch
        {
            null => settings.EndIds,
            { ValueKind: JsonValueKind.Array } list => [.. list.EnumerateArray().Select(e => Id(e, "eos_token_id"))],
            { } one => [Id(one, "eos_token_id")],
        },
        PaddingId = config.OrNull("pad_token_id") is { } padding ? Id(padding, "pad_token_id") : settings.PaddingId,
    };

    private static TokenizerSettings WithTokenizer(JsonElement config, TokenizerSettings settings) => settings with
    {
        Eos = Token(config, "eos_token"),
        Bos = Token(config, "bos_token"),
        Padding = Token(config, "pad_token"),
        AddsBos = config.IsTrue("add_bos_token"),
    };

    private static int Id(JsonElement value, string name) => value.ValueKind == JsonValueKind.Number && value.TryGetInt32(out int id) ? id
        : throw new FormatException($"its '{name}' is no token id");

    /// <summary>A token is written as its text, or as an object with its content.</summary>
    internal static string? Token(JsonElement config, string name) =>
        config.OrNull(name) is { ValueKind: JsonValueKind.Object } token ? token.TextOrNull("content") : config.TextOrNull(name);

    private static TokenizerSettings Read(string path, TokenizerSettings settings, Func<JsonElement, TokenizerSettings, TokenizerSettings> with)
    {
        if (!File.Exists(path))
            return settings;
        byte[] bytes = InputFile.ReadAll(path, "configuration", MostBytes);
        const string Remedy = "Restore the file that came with the model, or move the tokenizer to a folder of its own.";
        try
        {
            using var json = JsonDocument.Parse(bytes);
            return json.RootElement.ValueKind == JsonValueKind.Object ? with(json.RootElement, settings)
                : throw new FormatException("it is no JSON object");
        }
        catch (JsonException e)
        {
            throw new DataFormatException(path, $"this file beside the tokenizer is not JSON ({DataFormatException.Printable(e.Message)})", Remedy, e);
        }
        catch (Exception e) when (e is FormatException or InvalidOperationException)
        {
            throw new DataFormatException(path, "this file beside the tokenizer cannot be used: " + e.Message, Remedy, e);
        }
    }
}
