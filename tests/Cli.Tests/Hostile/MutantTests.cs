using System.Text;
using SorsaOrt.TestSupport;
using Xunit;

namespace SorsaOrt.Cli.Tests.Hostile;

/// <summary>Files like those of the corpus: its own files changed at random, through the verbs that read them. Each is accepted or refused in words.</summary>
public sealed class MutantTests
{
    private const int Seed = 20261124;
    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(20);

    public static TheoryData<string> Kinds => ["onnx", "safetensors", "gguf", "hf-config", "jsonl", "tokenizer-json", "tokenizer-model"];

    [Theory]
    [MemberData(nameof(Kinds))]
    public void AFewMutants(string kind) => Try(kind, 12);

    [Theory(Explicit = true)]
    [MemberData(nameof(Kinds))]
    public void HundredsOfMutants(string kind) => Try(kind, 500);

    private static void Try(string kind, int count)
    {
        var cases = HostileCorpus.Load(kind);
        Assert.SkipWhen(cases.Count == 0, "../shared/hostile is absent.");
        // Files that something is wrong with already lead further from what readers expect, but the good ones must lead the way in.
        var seeds = cases.Where(c => (kind == "hf-config" || !c.Json.ContainsKey("setup")) && c.Variants == 1).OrderBy(c => c.Expect == "accept" ? 0 : 1).ToArray();
        var good = seeds.Count(c => c.Expect == "accept");
        var random = new Random(Seed);
        int accepted = 0;
        for (var i = 0; i < count; i++)
        {
            var hostile = seeds[random.Next(2) == 0 ? random.Next(Math.Max(1, good)) : random.Next(seeds.Length)];
            using var work = new TemporaryFolder();
            using var elsewhere = new TemporaryFolder();
            var path = hostile.Materialize(work.Path);
            if (!File.Exists(path) || new FileInfo(path).Length > 1 << 20)
                continue;
            File.WriteAllBytes(path, Mutated(File.ReadAllBytes(path), random, isText: kind is "hf-config" or "jsonl" or "tokenizer-json"));
            var what = $"{kind} mutant {i} of {hostile.Id}";
            foreach (var arguments in Commands(kind, path, elsewhere.At("out")))
            {
                var run = Task.Run(() => Sorsa.Run(arguments));
                Assert.True(run.Wait(Limit), $"{what} takes more than {Limit.TotalSeconds} s in {arguments[0]}");
                var outcome = run.Result;
                Assert.True(outcome.ExitCode is 0 or 2 || outcome.ExitCode == 1 && outcome.Error.Contains("NaN", StringComparison.Ordinal), $"{what}, {arguments[0]}: exit code {outcome.ExitCode}\n{outcome.Error}");
                Assert.False(outcome.Error.Contains("should not have", StringComparison.Ordinal) || outcome.Error.Contains("   at ", StringComparison.Ordinal), $"{what}, {arguments[0]}:\n{outcome.Error}");
                if (outcome.ExitCode != 0)
                    Assert.Empty(elsewhere.Everything());
                accepted += outcome.ExitCode == 0 ? 1 : 0;
            }
        }
        TestContext.Current.TestOutputHelper?.WriteLine($"{kind}: {count} mutants, {accepted} commands accepted theirs");
    }

    private static string[][] Commands(string kind, string path, string output) => kind switch
    {
        "onnx" => [["inspect", "--model", path], ["build-artifacts", "--model", path, "--out", output, "--rank", "4", "--threads", "1"]],
        "safetensors" => [["export", "--from", WithConfig(path), "--out", output]],
        "gguf" => [["export", "--from", path, "--out", output]],
        "hf-config" => [["export", "--from", WithWeights(path), "--out", output]],
        "jsonl" => [["inspect", "--data", path, "--tokenizer", Paths.TinyMath("tokenizer.model"), "--limit", "1"],
            ["train", "--artifacts", SmallModels.TinyMathArtifacts, "--data", path, "--tokenizer", Paths.TinyMath("tokenizer.model"), "--out", output,
                "--max-steps", "1", "--batch-size", "1", "--accumulation", "1", "--max-length", "64", "--threads", "1"]],
        _ => [["inspect", "--data", Paths.TinyMath("test.jsonl"), "--tokenizer", path, "--limit", "2"]],
    };

    // The weights of a model whose configuration is good, and the other way round.
    private static string WithConfig(string weights)
    {
        var folder = Directory.CreateDirectory(weights + ".folder").FullName;
        File.Copy(Paths.Shared("hostile", "hf-config", "control", "config.json"), Path.Combine(folder, "config.json"));
        File.Move(weights, Path.Combine(folder, "model.safetensors"));
        return folder;
    }

    private static string WithWeights(string config)
    {
        var folder = Path.GetDirectoryName(config)!;
        File.Copy(Paths.Shared("hostile", "safetensors", "control.safetensors"), Path.Combine(folder, "model.safetensors"), overwrite: true);
        return folder;
    }

    /// <summary>One to four changes: bits, whole bytes, numbers at the edges of their types, pieces cut out, doubled, moved; in text also words that JSON has.</summary>
    private static byte[] Mutated(byte[] bytes, Random random, bool isText)
    {
        string[] words = ["null", "-1", "1e999", "99999999999999999999", "{}", "[]", "\"\"", "\\ud800", "\0", "\u202e", "[[[[[[[[", ",", ":", "true", "0.5", "\"\\n\"", "é", "\n"];
        byte[][] numbers = [[0xff, 0xff, 0xff, 0xff], [0, 0, 0, 0], [0xff, 0xff, 0xff, 0x7f], [0, 0, 0, 0x80], [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f], [0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 1]];
        var result = bytes.ToList();
        for (var n = random.Next(1, 5); n > 0; n--)
        {
            // Headers and structure are at the front of most binary formats.
            var end = isText || random.Next(2) == 0 ? result.Count : Math.Min(result.Count, 4096);
            var at = random.Next(end + 1);
            var length = Math.Min(result.Count - at, random.Next(3) == 0 ? random.Next(200) : random.Next(9));
            switch (random.Next(7))
            {
                case 0 when at < result.Count:
                    result[at] ^= (byte)(1 << random.Next(8));
                    break;
                case 1 when at < result.Count:
                    result[at] = (byte)random.Next(256);
                    break;
                case 2:
                    result.RemoveRange(at, length);
                    break;
                case 3:
                    result.InsertRange(at, result.GetRange(at, length));
                    break;
                case 4:
                    result.InsertRange(random.Next(result.Count + 1), result.GetRange(at, length));
                    break;
                default:
                    var piece = isText ? Encoding.UTF8.GetBytes(words[random.Next(words.Length)]) : numbers[random.Next(numbers.Length)];
                    result.RemoveRange(at, Math.Min(random.Next(2) * piece.Length, result.Count - at));
                    result.InsertRange(at, piece);
                    break;
            }
        }
        return [.. result];
    }
}
