using System.Text.Json.Serialization;

namespace SorsaOrt.Artifacts;

/// <summary>Writes an enumeration by its names and reads only names.</summary>
public sealed class StrictEnumConverter<T>() : JsonStringEnumConverter<T>(namingPolicy: null, allowIntegerValues: false)
    where T : struct, Enum;
