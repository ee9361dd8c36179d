using System.Text.Json;

namespace SorsaOrt.Data.TokenizerJson;

/// <summary>Fields of a tokenizer's JSON, with their names in every complaint.</summary>
internal static class JsonFields
{
    /// <summary>A field that must be there and of a kind.</summary>
    /// <exception cref="FormatException">It is not.</exception>
    public static JsonElement Need(this JsonElement element, string name, JsonValueKind kind, string what)
    {
        var value = element.OrNull(name) ?? throw new FormatException($"it has no '{name}'");
        return value.ValueKind == kind ? value : throw new FormatException($"its '{name}' is not {what}");
    }

    /// <summary>A field, or null where it is absent or null.</summary>
    public static JsonElement? OrNull(this JsonElement element, string name) =>
        element.ValueKind == JsonValueKind.Object && element.TryGetProperty(name, out var value) && value.ValueKind != JsonValueKind.Null ? value : null;

    /// <summary>A text, or null where it is absent or null.</summary>
    /// <exception cref="FormatException">It is something else.</exception>
    public static string? TextOrNull(this JsonElement element, string name) => element.OrNull(name) switch
    {
        null => null,
        { ValueKind: JsonValueKind.String } text => text.GetString(),
        _ => throw new FormatException($"its '{name}' is not a text"),
    };

    /// <summary>A truth value; absent or null is <paramref name="otherwise"/>.</summary>
    /// <exception cref="FormatException">It is something else.</exception>
    public static bool IsTrue(this JsonElement element, string name, bool otherwise = false) => element.OrNull(name) switch
    {
        null => otherwise,
        { ValueKind: JsonValueKind.True } => true,
        { ValueKind: JsonValueKind.False } => false,
        _ => throw new FormatException($"its '{name}' is not true or false"),
    };

    /// <summary>The "type" of a step, which every step has.</summary>
    public static string StepType(this JsonElement element, string what) =>
        element.TextOrNull("type") ?? throw new FormatException($"a {what} has no type");
}
