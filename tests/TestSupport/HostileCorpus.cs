using System.Text.Json;
using System.Text.Json.Nodes;

namespace SorsaOrt.TestSupport;

/// <summary>The cases of ../shared/hostile/cases.json; its README defines the fields.</summary>
public static class HostileCorpus
{
    /// <summary>The cases of a kind ("safetensors", "onnx", …) or of every kind; empty where the corpus is absent.</summary>
    public static IReadOnlyList<HostileCase> Load(string? kind = null)
    {
        if (Paths.SharedOrNull is null || !File.Exists(Paths.Shared("hostile", "cases.json")))
            return [];
        JsonNode root = JsonNode.Parse(File.ReadAllText(Paths.Shared("hostile", "cases.json")))!;
        return [.. root["cases"]!.AsArray().Select(node => new HostileCase(node!.AsObject())).Where(c => kind is null || c.Kind == kind)];
    }

    /// <summary>The case of that id.</summary>
    public static HostileCase Get(string id) => Load().Single(c => c.Id == id);
}

/// <summary>One case of the corpus.</summary>
public sealed class HostileCase
{
    private readonly JsonObject _json;

    internal HostileCase(JsonObject json) => _json = json;

    /// <summary>kind/name.</summary>
    public string Id => _json["id"]!.GetValue<string>();

    /// <summary>onnx, safetensors, gguf, jsonl, tokenizer-json, tokenizer-model, hf-config, config, config-text, checkpoint.</summary>
    public string Kind => _json["kind"]!.GetValue<string>();

    /// <summary>What is wrong, in one sentence.</summary>
    public string Wrong => _json["wrong"]!.GetValue<string>();

    /// <summary>reject, accept or either.</summary>
    public string Expect => _json["expect"]!.GetValue<string>();

    /// <summary>A good message holds the file's name or one of these, case ignored.</summary>
    public IReadOnlyList<string> Names => _json["names"] is JsonArray names ? [.. names.Select(n => n!.GetValue<string>())] : [];

    /// <summary>Number of variants; 1 unless the recipe has seeds.</summary>
    public int Variants => _json["generate"]?["seeds"]?.GetValue<int>() ?? 1;

    /// <summary>Every field, for kinds with fields of their own (param, value, args, mutate, …).</summary>
    public JsonObject Json => _json;

    /// <summary>True where a message is good: it names the file or one of <see cref="Names"/>.</summary>
    public bool IsNamedBy(string message) =>
        Names.Append(Path.GetFileName(_json["file"]?.GetValue<string>() ?? Id)).Any(name => message.Contains(name, StringComparison.OrdinalIgnoreCase));

    /// <summary>Makes the case's files below <paramref name="work"/>, at the same relative paths as in the corpus; gives the path of its file.</summary>
    /// <param name="work">A fresh folder.</param>
    /// <param name="variant">Which of <see cref="Variants"/>.</param>
    public string Materialize(string work, int variant = 0)
    {
        if (_json["dir"]?.GetValue<string>() is { } dir && Directory.Exists(Paths.Shared("hostile", dir)))
            CopyFolder(Paths.Shared("hostile", dir), Path.Combine(work, dir));
        string file = _json["file"]!.GetValue<string>();
        string path = Path.Combine(work, file);
        Directory.CreateDirectory(Path.GetDirectoryName(path)!);
        if (_json["generate"] is JsonObject recipe)
            Generate(recipe, path, variant);
        else if (File.Exists(Paths.Shared("hostile", file)) && !File.Exists(path))
            File.WriteAllBytes(path, File.ReadAllBytes(Paths.Shared("hostile", file)));
        foreach (JsonNode? step in _json["setup"] as JsonArray ?? [])
            SetUp(step!.AsObject(), work);
        return path;
    }

    private static void Generate(JsonObject recipe, string path, int variant)
    {
        string op = recipe["op"]!.GetValue<string>();
        if (op == "parts")
        {
            WriteParts(recipe["parts"]!.AsArray(), path);
            return;
        }
        byte[] data = File.ReadAllBytes(Paths.Shared("hostile", recipe["base"]!.GetValue<string>()));
        File.WriteAllBytes(path, op switch
        {
            "truncate" => data[..Math.Min(data.Length, recipe["length"]!.GetValue<int>())],
            "flip" => Flip(data, recipe["seed"]!.GetValue<long>(), recipe["count"]!.GetValue<int>(), recipe["within"]?.GetValue<int>() ?? 0, variant),
            "splice" => Splice(data, recipe["edits"]!.AsArray()),
            _ => throw new JsonException($"unknown recipe {op}"),
        });
    }

    private static void WriteParts(JsonArray parts, string path)
    {
        using FileStream stream = File.Create(path);
        foreach (JsonNode? part in parts)
        {
            byte[] piece = part!["hex"] is { } hex ? Convert.FromHexString(hex.GetValue<string>()) : System.Text.Encoding.UTF8.GetBytes(part["text"]!.GetValue<string>());
            long left = part["repeat"]?.GetValue<long>() ?? 1;
            int perBlock = Math.Max(1, (1 << 20) / Math.Max(1, piece.Length));
            byte[] block = [.. Enumerable.Repeat(piece, (int)Math.Min(perBlock, left)).SelectMany(b => b)];
            for (; left > 0; left -= perBlock)
                stream.Write(block, 0, (int)(Math.Min(perBlock, left) * piece.Length));
        }
    }

    /// <summary>The corpus's flip recipe: random bits of <paramref name="data"/> inverted.</summary>
    public static byte[] Flip(byte[] data, long seed, int count, int within, int variant)
    {
        byte[] flipped = [.. data];
        var random = new SplitMix64(unchecked((ulong)(seed * 1000003 + variant)));
        ulong span = (ulong)(within > 0 ? Math.Min(data.Length, within) : data.Length);
        for (int n = count > 0 ? count : 1 + (int)(random.Next() % 8); n > 0; n--)
        {
            int at = (int)(random.Next() % span);
            flipped[at] ^= (byte)(1 << (int)(random.Next() % 8));
        }
        return flipped;
    }

    private static byte[] Splice(byte[] data, JsonArray edits)
    {
        var result = new List<byte>();
        int at = 0;
        foreach (JsonNode? edit in edits)
        {
            int start = edit!["at"]!.GetValue<int>();
            result.AddRange(data[at..start]);
            result.AddRange(Convert.FromHexString(edit["insert_hex"]!.GetValue<string>()));
            at = start + edit["remove"]!.GetValue<int>();
        }
        result.AddRange(data[at..]);
        return [.. result];
    }

    private static void SetUp(JsonObject step, string work)
    {
        string path = Path.Combine(work, step["path"]!.GetValue<string>());
        Directory.CreateDirectory(Path.GetDirectoryName(path)!);
        switch (step["op"]!.GetValue<string>())
        {
            case "mkdir":
                Directory.CreateDirectory(path);
                break;
            case "symlink":
                File.CreateSymbolicLink(path, step["target"]!.GetValue<string>());
                break;
            case "hardlink":
                Run("ln", Path.Combine(Path.GetDirectoryName(path)!, step["target"]!.GetValue<string>()), path);
                break;
            case "fifo":
                Run("mkfifo", path);
                break;
            case "copy":
                File.WriteAllBytes(path, File.ReadAllBytes(Paths.Shared("hostile", step["from"]!.GetValue<string>())));
                break;
            case "write":
                File.WriteAllText(path, step["text"]!.GetValue<string>());
                break;
            default:
                throw new JsonException($"unknown setup step {step["op"]}");
        }
    }

    private static void Run(string program, params string[] arguments)
    {
        using var process = System.Diagnostics.Process.Start(program, arguments);
        process.WaitForExit();
        if (process.ExitCode != 0)
            throw new IOException($"{program} failed with {process.ExitCode}");
    }

    private static void CopyFolder(string from, string to)
    {
        Directory.CreateDirectory(to);
        foreach (FileSystemInfo entry in new DirectoryInfo(from).GetFileSystemInfos())
        {
            string target = Path.Combine(to, entry.Name);
            if (entry.LinkTarget is { } link)
                File.CreateSymbolicLink(target, link);
            else if (entry is DirectoryInfo)
                CopyFolder(entry.FullName, target);
            else
                File.WriteAllBytes(target, File.ReadAllBytes(entry.FullName));
        }
    }
}

/// <summary>The random numbers of every seeded recipe.</summary>
public sealed class SplitMix64(ulong seed)
{
    private ulong _state = seed;

    /// <summary>The next number.</summary>
    public ulong Next()
    {
        unchecked
        {
            _state += 0x9E3779B97F4A7C15;
            ulong z = _state;
            z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
            z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
            return z ^ (z >> 31);
        }
    }
}
