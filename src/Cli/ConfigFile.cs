using System.Globalization;
using System.Reflection;
using System.Text.Json;
using CommandLine;

namespace SorsaOrt.Cli;

/// <summary>The file of <c>--config</c>: options of the verb by their long names, which stand as if written before the others.</summary>
internal static class ConfigFile
{
    private const long LongestFile = 1 << 20;

    /// <summary>The arguments with those of the file added; options that the command line has already are left out.</summary>
    /// <exception cref="UsageException">The file cannot be read or has an unknown key.</exception>
    public static string[] Expand(string[] arguments, IReadOnlyDictionary<string, Type> verbs)
    {
        static bool IsConfig(string argument) => argument == "--config" || argument.StartsWith("--config=", StringComparison.Ordinal);
        var at = Array.FindIndex(arguments, IsConfig);
        if (at < 0 || arguments.Length == 0 || !verbs.TryGetValue(arguments[0], out var verb))
            return arguments;
        var path = arguments[at].Contains('=', StringComparison.Ordinal) ? arguments[at][9..]
            : at + 1 < arguments.Length ? arguments[at + 1] : throw new UsageException("--config needs a file name.");
        if (Array.FindIndex(arguments, at + 1, IsConfig) >= 0)
            throw new UsageException("--config is given twice; put all options into one file.");
        var known = CommandArguments.OptionsOf(verb);
        var given = arguments.Where(a => a.StartsWith("--", StringComparison.Ordinal)).Select(a => a[2..].Split('=')[0]).ToHashSet(StringComparer.Ordinal);
        var added = new List<string>();
        using var document = Read(path);
        foreach (var setting in document.RootElement.EnumerateObject())
        {
            if (!known.TryGetValue(setting.Name, out var option) || setting.Name == "config")
                throw new UsageException($"--config {path}: '{Printable.Text(setting.Name)}' is no option of `sorsa {arguments[0]}`; "
                    + $"it knows {string.Join(", ", known.Keys.Order(StringComparer.Ordinal))}.");
            if (!given.Contains(setting.Name))
                added.AddRange(Arguments(path, setting, option));
        }
        return [arguments[0], .. added, .. arguments[1..]];
    }

    /// <summary>Checks a file that another start of <paramref name="verb"/> will be given.</summary>
    /// <exception cref="UsageException">The file cannot be read or has an unknown key.</exception>
    public static void Check(string path, Type verb)
    {
        var name = verb.GetCustomAttribute<VerbAttribute>()!.Name;
        Expand([name, "--config", path], new Dictionary<string, Type> { [name] = verb });
    }

    private static JsonDocument Read(string path)
    {
        try
        {
            var file = new FileInfo(path);
            if (!file.Exists)
                throw new UsageException($"--config: there is no file '{path}'.");
            if (file.Length > LongestFile)
                throw new UsageException($"--config {path}: {file.Length} bytes are more than any configuration has.");
            var bytes = File.ReadAllBytes(path);
            if (!System.Text.Unicode.Utf8.IsValid(bytes))
                throw new UsageException($"--config {path}: it holds text that is not valid UTF-8.");
            var document = JsonDocument.Parse(bytes, new JsonDocumentOptions { MaxDepth = 8 });
            if (document.RootElement.ValueKind == JsonValueKind.Object)
            {
                foreach (var setting in document.RootElement.EnumerateObject())
                    _ = (setting.Name, string.Concat(Texts(setting.Value)));
                return document;
            }
            document.Dispose();
            throw new UsageException($"--config {path}: the file must hold one JSON object with options by their long names.");
        }
        catch (InvalidOperationException e) // half of a surrogate pair
        {
            throw new UsageException($"--config {path}: it holds text that is not valid Unicode.", e);
        }
        catch (JsonException e)
        {
            throw new UsageException($"--config {path}: not JSON at line {(e.LineNumber + 1)?.ToString(CultureInfo.InvariantCulture)}: {e.Message}", e);
        }
    }

    private static IEnumerable<string> Arguments(string path, JsonProperty setting, KnownOption option)
    {
        var value = setting.Value;
        if (value.ValueKind == JsonValueKind.Null)
            return [];
        if (option.Type == typeof(bool))
        {
            return value.ValueKind switch
            {
                JsonValueKind.True => ["--" + setting.Name],
                JsonValueKind.False => [],
                _ => throw new UsageException($"--config {path}: '{setting.Name}' must be true or false."),
            };
        }
        return value.ValueKind switch
        {
            JsonValueKind.String or JsonValueKind.Number => [$"--{setting.Name}={Scalar(value, option)}"],
            JsonValueKind.Array when value.EnumerateArray().All(e => e.ValueKind is JsonValueKind.String or JsonValueKind.Number) => option.IsList
                ? value.EnumerateArray().Select(e => $"--{setting.Name}={Scalar(e, option)}")
                : [$"--{setting.Name}={string.Join(',', value.EnumerateArray().Select(e => Scalar(e, option)))}"], // As on the command line.
            _ => throw new UsageException($"--config {path}: '{setting.Name}' must be a number, a string or a list of those."),
        };
    }

    // Throws where a string is half of a surrogate pair.
    private static IEnumerable<string> Texts(JsonElement value) =>
        value.ValueKind == JsonValueKind.Array ? value.EnumerateArray().Select(e => Scalar(e, default)) : [Scalar(value, default)];

    // JSON has one kind of number: 2.0 is the whole number 2.
    private static string Scalar(JsonElement value, KnownOption option) => value.ValueKind == JsonValueKind.String ? value.GetString()!
        : (option.Type == typeof(int) || option.Type == typeof(long)) && value.TryGetDecimal(out var number) && decimal.IsInteger(number) ? number.ToString("0", CultureInfo.InvariantCulture)
        : value.GetRawText();
}
