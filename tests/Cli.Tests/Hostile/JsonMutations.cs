using System.Text;
using System.Text.Json.Nodes;
using SorsaOrt.TestSupport;

namespace SorsaOrt.Cli.Tests.Hostile;

/// <summary>The corpus's mutations of a JSON text or any other file's bytes.</summary>
internal static class JsonMutations
{
    /// <summary>Every form that <paramref name="mutate"/> gives to <paramref name="bytes"/>.</summary>
    public static IEnumerable<byte[]> Of(JsonObject mutate, byte[] bytes)
    {
        string Text(string key) => mutate[key]!.GetValue<string>();
        byte[] Piece() => mutate["hex"] is { } hex ? Convert.FromHexString(hex.GetValue<string>()) : Encoding.UTF8.GetBytes(Text("text"));
        var json = Encoding.UTF8.GetString(bytes);
        switch (Text("op"))
        {
            case "truncate":
                var length = mutate["length"]?.GetValue<int>() ?? (int)(bytes.Length * (long)mutate["percent"]!.GetValue<int>() / 100) - (mutate["minus"]?.GetValue<int>() ?? 0);
                return [bytes[..length]];
            case "prepend":
                return [[.. Piece(), .. bytes]];
            case "append":
                return [[.. bytes, .. Piece()]];
            case "insert-key":
                return [Encoding.UTF8.GetBytes(json.Insert(json.IndexOf('{', StringComparison.Ordinal) + 1, Text("text")))];
            case "insert-at":
                var at = bytes.Length * mutate["percent"]!.GetValue<int>() / 100;
                return [[.. bytes[..at], .. Piece(), .. bytes[at..]]];
            case "replace-last":
                var last = json.LastIndexOf(Text("find"), StringComparison.Ordinal);
                return [Encoding.UTF8.GetBytes(json.Remove(last, Text("find").Length).Insert(last, Text("text")))];
            case "wrap":
                return [Encoding.UTF8.GetBytes(Text("before") + json + Text("after"))];
            case "set":
                return [Piece()];
            case "set-repeat":
                return [Encoding.UTF8.GetBytes(new StringBuilder().Insert(0, Text("text"), mutate["repeat"]!.GetValue<int>()).ToString())];
            case "flip":
                return Enumerable.Range(0, mutate["seeds"]!.GetValue<int>()).Select(k => HostileCase.Flip(bytes, mutate["seed"]!.GetValue<long>(), mutate["count"]!.GetValue<int>(), 0, k));
            case "zero":
                return [new byte[bytes.Length]];
            case "each-scalar":
                return EachScalar(json, Text("of"), mutate["value"]);
            case "each-key-removed":
                return EachKeyRemoved(json);
            default:
                throw new NotSupportedException(mutate.ToJsonString());
        }
    }

    private static IEnumerable<byte[]> EachScalar(string json, string kind, JsonNode? value)
    {
        var wanted = kind == "number" ? System.Text.Json.JsonValueKind.Number : System.Text.Json.JsonValueKind.String;
        var count = Scalars(JsonNode.Parse(json)!).Count(s => s.GetValueKind() == wanted);
        for (var i = 0; i < count; i++)
        {
            var root = JsonNode.Parse(json)!;
            Scalars(root).Where(s => s.GetValueKind() == wanted).ElementAt(i).ReplaceWith(value?.DeepClone());
            yield return Encoding.UTF8.GetBytes(root.ToJsonString());
        }
    }

    private static IEnumerable<byte[]> EachKeyRemoved(string json)
    {
        var count = Objects(JsonNode.Parse(json)!).Sum(o => o.Count);
        for (var i = 0; i < count; i++)
        {
            var root = JsonNode.Parse(json)!;
            var (owner, key) = Objects(root).SelectMany(o => o.Select(p => (o, p.Key))).ElementAt(i);
            owner.Remove(key);
            yield return Encoding.UTF8.GetBytes(root.ToJsonString());
        }
    }

    private static IEnumerable<JsonValue> Scalars(JsonNode node) => node switch
    {
        JsonObject o => o.Where(p => p.Value is not null).SelectMany(p => Scalars(p.Value!)),
        JsonArray a => a.Where(e => e is not null).SelectMany(e => Scalars(e!)),
        _ => [(JsonValue)node],
    };

    private static IEnumerable<JsonObject> Objects(JsonNode node) => node switch
    {
        JsonObject o => o.Where(p => p.Value is not null).SelectMany(p => Objects(p.Value!)).Prepend(o),
        JsonArray a => a.Where(e => e is not null).SelectMany(e => Objects(e!)),
        _ => [],
    };
}
