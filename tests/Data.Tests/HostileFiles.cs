using System.Diagnostics;
using System.Text.Json;
using SorsaOrt.TestSupport;

namespace SorsaOrt.Data.Tests;

/// <summary>Cases of the hostile corpus, made into files by the rules of its README.</summary>
internal static class HostileFiles
{
    /// <summary>(id, variant) of every case of a kind; one row with an empty id where the corpus is absent.</summary>
    public static IEnumerable<(string Id, int Variant)> Cases(string kind)
    {
        if (Paths.SharedOrNull is null)
            return [("", 0)];
        return ReadCases().Where(c => c.GetProperty("kind").GetString() == kind).SelectMany(c =>
        {
            int seeds = c.TryGetProperty("generate", out var g) && g.TryGetProperty("seeds", out var s) ? s.GetInt32() : 1;
            return Enumerable.Range(0, seeds).Select(k => (c.GetProperty("id").GetString()!, k));
        });
    }

    /// <summary>Makes the file and checks that <paramref name="read"/> ends as the case says, or as <paramref name="expected"/>.</summary>
    public static void Check(string id, int variant, Action<string> read, string? expected = null)
    {
        Assert.SkipWhen(id.Length == 0, "../shared is absent");
        var item = ReadCases().First(c => c.GetProperty("id").GetString() == id);
        using var folder = new TemporaryFolder();
        string path = Make(item, variant, folder);
        string expect = expected ?? item.GetProperty("expect").GetString()!;
        var error = Record.Exception(() => read(path));
        if (error is null)
        {
            Assert.True(expect != "reject", $"{id} was accepted: {item.GetProperty("wrong")}");
            return;
        }
        Assert.True(expect != "accept", $"{id} was refused: {error.Message}");
        Assert.IsType<DataFormatException>(error);
        Assert.Contains(Path.GetFileName(path), error.Message, StringComparison.Ordinal);
        if (item.TryGetProperty("names", out var names) && expected is null && expect == "reject")
            Assert.Contains(names.EnumerateArray(), n => error.Message.Contains("line " + n.GetString(), StringComparison.OrdinalIgnoreCase));
    }

    private static JsonElement[] ReadCases()
    {
        using var json = JsonDocument.Parse(File.ReadAllBytes(Paths.Shared("hostile", "cases.json")));
        return [.. json.RootElement.GetProperty("cases").EnumerateArray().Select(e => e.Clone())];
    }

    private static string Make(JsonElement item, int variant, TemporaryFolder folder)
    {
        string file = item.GetProperty("file").GetString()!;
        string made = Path.Combine(folder.Path, Path.GetFileName(file));
        if (item.TryGetProperty("setup", out var setup))
        {
            switch (setup[0].GetProperty("op").GetString())
            {
                case "mkdir": Directory.CreateDirectory(made); break;
                case "fifo": Process.Start("mkfifo", made).WaitForExit(); break;
                default: throw new NotSupportedException(setup.GetRawText());
            }
            return made;
        }
        if (!item.TryGetProperty("generate", out var recipe))
            return Paths.Shared("hostile", file);
        using var stream = File.Create(made);
        switch (recipe.GetProperty("op").GetString())
        {
            case "truncate": stream.Write(Base(recipe).AsSpan(0, recipe.GetProperty("length").GetInt32())); break;
            case "flip": stream.Write(Flip(Base(recipe), recipe.GetProperty("seed").GetInt64(), recipe.GetProperty("count").GetInt32(), variant)); break;
            case "parts":
                foreach (var part in recipe.GetProperty("parts").EnumerateArray())
                {
                    byte[] bytes = part.TryGetProperty("text", out var text) ? System.Text.Encoding.UTF8.GetBytes(text.GetString()!) : Convert.FromHexString(part.GetProperty("hex").GetString()!);
                    int repeat = part.TryGetProperty("repeat", out var r) ? r.GetInt32() : 1;
                    for (int i = 0; i < repeat; i++)
                        stream.Write(bytes);
                }
                break;
            default: throw new NotSupportedException(recipe.GetRawText());
        }
        return made;
    }

    private static byte[] Base(JsonElement recipe) => File.ReadAllBytes(Paths.Shared("hostile", recipe.GetProperty("base").GetString()!));

    private static byte[] Flip(byte[] bytes, long seed, int count, int variant)
    {
        ulong state = (ulong)((seed * 1000003) + variant);
        int flips = count > 0 ? count : 1 + (int)(Next() % 8);
        for (int i = 0; i < flips; i++)
        {
            ulong at = Next() % (ulong)bytes.Length;
            bytes[at] ^= (byte)(1 << (int)(Next() % 8));
        }
        return bytes;

        ulong Next()
        {
            unchecked
            {
                ulong z = state += 0x9E3779B97F4A7C15;
                z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
                z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
                return z ^ (z >> 31);
            }
        }
    }
}
