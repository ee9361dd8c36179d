using System.Globalization;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using FsCheck.Xunit;
using Microsoft.ML.Tokenizers;
using SorsaOrt.Data.TokenizerJson;
using SorsaOrt.TestSupport;

namespace SorsaOrt.Data.Tests;

public sealed class JsonTokenizerTests : IDisposable
{
    private const string LlamaWords =
        @"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    /// <summary>All 256 bytes, "He", "Hel", " a", and two special tokens.</summary>
    private JsonObject File256(Action<JsonObject>? change = null)
    {
        var vocab = new JsonObject { ["<|endoftext|>"] = 0, ["<|im_end|>"] = 1 };
        for (int b = 0; b < 256; b++)
            vocab[Letter(b)] = b + 2;
        (vocab["He"], vocab["Hel"], vocab["lo"], vocab["\u0120a"]) = (258, 259, 260, 261);
        var file = new JsonObject
        {
            ["added_tokens"] = new JsonArray(Special(0, "<|endoftext|>"), Special(1, "<|im_end|>")),
            ["pre_tokenizer"] = new JsonObject { ["type"] = "ByteLevel", ["add_prefix_space"] = false, ["use_regex"] = true },
            ["decoder"] = new JsonObject { ["type"] = "ByteLevel" },
            ["model"] = new JsonObject
            {
                ["type"] = "BPE",
                ["vocab"] = vocab,
                ["merges"] = new JsonArray("l o", "H e", "He l", "\u0120 a"),
            },
        };
        change?.Invoke(file);
        return file;
    }

    private static JsonObject Special(int id, string content) => new() { ["id"] = id, ["content"] = content, ["special"] = true, ["normalized"] = false };

    // GPT-2's table: printable bytes stand for themselves, the others for U+0100 and on.
    private static string Letter(int b)
    {
        int next = 256 + Enumerable.Range(0, b).Count(i => !IsPrintable(i));
        return ((char)(IsPrintable(b) ? b : next)).ToString();
        static bool IsPrintable(int i) => i is (>= 33 and <= 126) or (>= 161 and <= 172) or (>= 174 and <= 255);
    }

    private Tokenizer Load(JsonObject file) => Tokenizer.Load(_folder.Write("tokenizer.json", file.ToJsonString()));

    [Fact]
    public void Merges_FollowTheirRank_AndIgnoreMergesTakesWholeWordsFirst()
    {
        // "l o" comes before "He l": He, lo and not Hel, o.
        Assert.Equal([258, 260], Load(File256()).Encode("Helo"));
        var whole = File256(f => (f["model"]!["vocab"]!["Helo"], f["model"]!["ignore_merges"]) = (262, true));
        Assert.Equal([262], Load(whole).Encode("Helo"));
    }

    [Theory]
    [InlineData("NFC", "e\u0301", "\u00e9")]
    [InlineData("NFD", "\u00e9", "e\u0301")]
    [InlineData("Lowercase", "HE", "he")]
    public void Normalizer_ChangesTheTextFirst(string type, string text, string same)
    {
        var tokenizer = Load(File256(f => f["normalizer"] = new JsonObject { ["type"] = type }));
        Assert.Equal(tokenizer.Encode(same), tokenizer.Encode(text));
        Assert.Equal(same, tokenizer.Decode(tokenizer.Encode(text)));
    }

    [Fact]
    public void SpecialTokens_AreFoundInText_ButNeverInData()
    {
        var tokenizer = Load(File256());
        const string Text = "Hel<|im_end|>";
        Assert.Equal([259, 1], tokenizer.Encode(Text));
        var ids = new List<int>();
        tokenizer.Encode(Text + Text, false, ids, [new TextSpan(0, Text.Length)]);
        Assert.Equal([259, 1], ids[^2..]);
        Assert.Single(ids, 1);
        Assert.Equal(Text + "Hel", tokenizer.Decode(ids));
        Assert.Equal(Text + Text, tokenizer.Decode(ids, showSpecial: true));
    }

    [Fact]
    public void AddedTokens_TakeSpaceAndWordBordersAsTheySay()
    {
        var tokenizer = Load(File256(f =>
        {
            var cat = Special(262, "cat");
            (cat["single_word"], cat["lstrip"]) = (true, true);
            f["added_tokens"]!.AsArray().Add(cat);
        }));
        Assert.Equal(['a' + 2, 262], tokenizer.Encode("a  cat"));
        Assert.DoesNotContain(262, tokenizer.Encode("cats"));
    }

    [Fact]
    public void PostProcessor_SaysWhatBeginsAText()
    {
        Assert.Equal(-1, Load(File256()).BosId);
        var template = new JsonObject
        {
            ["type"] = "TemplateProcessing",
            ["single"] = new JsonArray(new JsonObject { ["SpecialToken"] = new JsonObject { ["id"] = "<|endoftext|>", ["type_id"] = 0 } },
                new JsonObject { ["Sequence"] = new JsonObject { ["id"] = "A", ["type_id"] = 0 } }),
        };
        var tokenizer = Load(File256(f => f["post_processor"] = new JsonObject { ["type"] = "Sequence", ["processors"] = new JsonArray(new JsonObject { ["type"] = "ByteLevel" }, template) }));
        Assert.Equal([0, 258], tokenizer.Encode("He", addBos: true));
    }

    [Fact]
    public void EndTokens_AreThoseOfTheModelBesideIt_ThenOfTheTokenizer_ThenOfTheFile()
    {
        Assert.Equal((1, 1), (Load(File256()).EosId, Load(File256()).PaddingId));
        _folder.Write("tokenizer_config.json", """{"eos_token": {"content": "<|endoftext|>"}, "pad_token": "He"}""");
        Assert.Equal((0, 258), (Load(File256()).EosId, Load(File256()).PaddingId));
        _folder.Write("config.json", """{"eos_token_id": [259, 0], "pad_token_id": 260}""");
        Assert.Equal((0, 260), (Load(File256()).EosId, Load(File256()).PaddingId));
        _folder.Write("generation_config.json", """{"eos_token_id": 1}""");
        Assert.Equal(1, Load(File256()).EosId);
        Assert.Equal([0, 1], Load(File256()).EndIds.Order());
        _folder.Write("config.json", """{"eos_token_id": "x"}""");
        Assert.Contains("config.json: this file beside the tokenizer", Assert.Throws<DataFormatException>(() => Load(File256())).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Qwen_And_Llama3_PatternsCutAsTheyDoThere()
    {
        var split = new JsonObject { ["type"] = "Split", ["pattern"] = new JsonObject { ["Regex"] = LlamaWords }, ["behavior"] = "Isolated", ["invert"] = false };
        var steps = new JsonArray(split, new JsonObject { ["type"] = "ByteLevel", ["add_prefix_space"] = false, ["use_regex"] = false });
        var element = JsonDocument.Parse(new JsonObject { ["type"] = "Sequence", ["pretokenizers"] = steps }.ToJsonString()).RootElement;
        string[] words = [.. PreTokenizers.Parse(element)!(new Piece("I'LL pay $12345.6,\n\n  ok\U0001d4b3y \U0001f642!", false, true)).Select(p => Encoding.UTF8.GetString(ByteLevel.ToBytes(p.Text)))];
        Assert.Equal(["I", "'LL", " pay", " $", "123", "45", ".", "6", ",\n\n", " ", " ok\U0001d4b3y", " \U0001f642!"], words);
    }

    [Theory]
    [InlineData("Isolated", "a|-|b|-|-|c")]
    [InlineData("Removed", "a|b|c")]
    [InlineData("MergedWithPrevious", "a-|b-|-|c")]
    [InlineData("MergedWithNext", "a|-b|-|-c")]
    [InlineData("Contiguous", "a|-|b|--|c")]
    public void Split_BehavesAsItSays(string behavior, string expected)
    {
        using var json = JsonDocument.Parse($$"""{"type": "Split", "pattern": {"String": "-"}, "behavior": "{{behavior}}"}""");
        Assert.Equal(expected, string.Join('|', PreTokenizers.Parse(json.RootElement)!(new Piece("a-b--c", false, true)).Select(p => p.Text)));
    }

    [Fact]
    public void Metaspace_PutsASpaceInFront_ButNotWhereTextContinues()
    {
        using var json = JsonDocument.Parse("""{"type": "Metaspace", "replacement": "_", "prepend_scheme": "first"}""");
        var step = PreTokenizers.Parse(json.RootElement)!;
        Assert.Equal(["_a", "_b"], step(new Piece("a b", false, true)).Select(p => p.Text));
        Assert.Equal(["a", "_b"], step(new Piece("a b", false, false)).Select(p => p.Text));
        Assert.Equal(["a", "_b"], step(new Piece("a b", true, true)).Select(p => p.Text));
    }

    [Fact]
    public void StandIns_AreOfTheCategoryTheyStandFor()
    {
        foreach (var category in Enum.GetValues<UnicodeCategory>().Where(c => c is not (UnicodeCategory.SpaceSeparator or UnicodeCategory.LineSeparator
            or UnicodeCategory.ParagraphSeparator or UnicodeCategory.Control or UnicodeCategory.Surrogate)))
            Assert.Equal(category, CharUnicodeInfo.GetUnicodeCategory(CodePointRegex.StandIn(category)));
    }

    [Theory]
    [InlineData("A\u030a\u0323", "\u1ea0\u030a", "A\u0323\u030a")]
    [InlineData("\u1e9b\u0323", "\u1e9b\u0323", "\u017f\u0323\u0307")]
    [InlineData("\u1100\u1161\u11a8", "\uac01", "\u1100\u1161\u11a8")]
    [InlineData("\u0958", "\u0915\u093c", "\u0915\u093c")]        // not composed again
    [InlineData("\u212b", "\u00c5", "A\u030a")]
    [InlineData("\ud834\udd5e", "\ud834\udd57\ud834\udd65", "\ud834\udd57\ud834\udd65")]
    [InlineData("a\u0301\u0301\u0327", "\u00e1\u0327\u0301", "a\u0327\u0301\u0301")]
    public void CanonicalForms_AreUnicodes(string text, string composed, string decomposed)
    {
        Assert.Equal(composed, CanonicalForm.Compose(text));
        Assert.Equal(decomposed, CanonicalForm.Decompose(text));
    }

    [Fact]
    public void SingleWordOfAMillionLetters_EncodesInLinearMemory()
    {
        var tokenizer = Load(File256());
        Assert.Equal(1_000_000, tokenizer.Encode(new string('x', 1_000_000)).Length);
    }

    // No property: a skip inside one is a failure to FsCheck.
    [Fact]
    public void Merging_EqualsThePackage()
    {
        Assert.SkipWhen(Paths.SharedOrNull is null, "../shared is absent");
        var (ours, package, tokens) = SmolLm2.Value;
        var random = new Random(1);
        for (int word = 0; word < 200; word++)
        {
            string text = string.Concat(Enumerable.Range(0, 1 + random.Next(6)).Select(_ => tokens[random.Next(tokens.Length)]));
            var ids = new List<int>();
            ours.Encode(text, ids);
            Assert.Equal(package.EncodeToIds(text, considerPreTokenization: false, considerNormalization: false), ids);
        }
    }

    [Property(MaxTest = 300)]
    public void DecodeOfEncode_IsTheText(string? anything)
    {
        string text = string.Concat((anything ?? "").EnumerateRunes().Where(r => r != Rune.ReplacementChar));
        var tokenizer = Load(File256());
        Assert.Equal(text, tokenizer.Decode(tokenizer.Encode(text)));
    }

    private static readonly Lazy<(BytePairModel Ours, BpeTokenizer Package, string[] Tokens)> SmolLm2 = new(() =>
    {
        using var json = JsonDocument.Parse(System.IO.File.ReadAllBytes(Paths.Shared("models", "SmolLM2-135M-Instruct", "tokenizer.json")));
        var model = json.RootElement.GetProperty("model");
        var options = new BpeOptions(model.GetProperty("vocab").EnumerateObject().Select(t => KeyValuePair.Create(t.Name, t.Value.GetInt32())))
        {
            Merges = [.. model.GetProperty("merges").EnumerateArray().Select(m => $"{m[0]} {m[1]}")],
        };
        return (new BytePairModel(model), BpeTokenizer.Create(options), [.. options.Vocabulary.Select(t => t.Key).Where(t => t[0] != '<')]);
    });
}
