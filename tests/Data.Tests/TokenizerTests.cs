using System.Text;
using System.Text.Json;
using FsCheck.Xunit;
using Microsoft.ML.Tokenizers;
using SorsaOrt.TestSupport;

namespace SorsaOrt.Data.Tests;

public class TokenizerTests
{
    [Fact]
    public void EncodeAndDecode_GiveTheGoldensOfTinyMath() =>
        CheckGoldens(Paths.TinyMath("tokenizer.model"), Paths.Fixture("tokenizers", "tiny-math.json"));

    [Fact]
    public void EncodeAndDecode_GiveTheGoldensOfLlama2()
    {
        Assert.SkipWhen(Paths.SharedOrNull is null, "../shared is absent");
        CheckGoldens(Paths.Shared("models", "llama2-tokenizer"), Paths.Shared("goldens", "tokenizers", "llama2.json"));
    }

    [Fact]
    public void EncodeAndDecode_GiveTheGoldensOfSmolLm2() =>   // its tokenizer, reduced to the tokens and merges that can occur in the goldens
        CheckGoldens(Paths.Fixture("tokenizers", "smollm2-tokenizer.json"), Paths.Fixture("tokenizers", "smollm2.json"));

    [Fact]
    public void EncodeAndDecode_GiveTheGoldensOfSmolLm2_WithTheWholeVocabulary()
    {
        Assert.SkipWhen(Paths.SharedOrNull is null, "../shared is absent");
        CheckGoldens(Paths.Shared("models", "SmolLM2-135M-Instruct"), Paths.Shared("goldens", "tokenizers", "smollm2.json"));
    }

    [Fact]
    public void EncodeAndDecode_GiveTheGoldensOfTinyMath_FromItsTokenizerJsonToo()
    {
        Assert.SkipWhen(Paths.SharedOrNull is null, "../shared is absent");
        CheckGoldens(Paths.Shared("exports", "tiny-math", "optimum-no-past", "tokenizer.json"), Paths.Fixture("tokenizers", "tiny-math.json"), isData: true);
    }

    [Fact]
    public void Encode_MergesTheLeftmostOfEqualScores_WhereThePackageTakesTheRightmost()
    {
        int[] hashes = Tokenizer.Load(Paths.TinyMath("tokenizer.model")).Encode("\n###");
        Assert.Equal([951, 13, 296, 991], hashes);
        using var stream = File.OpenRead(Paths.TinyMath("tokenizer.model"));
        // When this fails the package has been corrected, and SentencePieceMerges can go.
        Assert.NotEqual(hashes, SentencePieceTokenizer.Create(stream, false, false, null).EncodeToIds("\n###", false, false));
    }

    [Fact]
    public void Encode_PutsBosFirst_AndNoSpaceBeforeTextThatContinues()
    {
        var tokenizer = Tokenizer.Load(Paths.TinyMath("tokenizer.model"));
        Assert.Equal((1, 2, 1024), (tokenizer.BosId, tokenizer.EosId, tokenizer.VocabularySize));
        Assert.Equal([1, 951, 963], tokenizer.Encode("1", addBos: true));
        Assert.Equal([963], tokenizer.Encode("1", continues: true));
        Assert.Equal([1], tokenizer.Encode("", addBos: true));
    }

    [Theory]
    [InlineData("</s>")]
    [InlineData("<s>")]
    [InlineData("<unk>")]
    [InlineData("<0x41>")]
    public void Encode_NeverMakesControlTokensOfText(string text)
    {
        var tokenizer = Tokenizer.Load(Paths.TinyMath("tokenizer.model"));
        int[] ids = tokenizer.Encode(text);
        Assert.True(ids.Length > 2);
        Assert.DoesNotContain(ids, id => id <= 2);
        Assert.Equal(text, tokenizer.Decode(ids));
    }

    [Fact]
    public void TokenStream_GivesWholeCharactersOnly()
    {
        var tokenizer = Tokenizer.Load(Paths.TinyMath("tokenizer.model"));
        var stream = new TokenStream(tokenizer);
        string[] pieces = [.. tokenizer.Encode("a🙂b").Select(stream.Append), stream.Flush()];
        Assert.Equal(["a", "", "", "", "🙂", "b", ""], pieces);
    }

    [Fact]
    public void TokenStream_ReplacesBytesThatNeverBecomeACharacter()
    {
        var tokenizer = Tokenizer.Load(Paths.TinyMath("tokenizer.model"));
        int[] ids = tokenizer.Encode("🙂x");
        Assert.Equal(" \uFFFD\uFFFDx", " " + tokenizer.Decode([ids[1], ids[2], ids[^1]]));
        var stream = new TokenStream(tokenizer);
        Assert.Equal("", stream.Append(ids[1]));
        Assert.Equal("\uFFFD", stream.Flush());
    }

    [Property(MaxTest = 300)]
    public void DecodeOfEncode_IsTheText(string? anything, bool spaces)
    {
        var tokenizer = Tokenizer.Load(Paths.TinyMath("tokenizer.model"));
        // Half surrogates are no text, and U+2581 is SentencePiece's own sign for a space.
        string text = string.Concat((anything ?? "").EnumerateRunes().Where(r => r != Rune.ReplacementChar)).Replace('\u2581', ' ');
        text = spaces ? " " + text.Replace('e', ' ') + "  " : text;
        Assert.Equal(text, tokenizer.Decode(tokenizer.Encode(text)));
    }

    [Fact]
    public void Load_RefusesATokenizerJsonWithoutAModel()
    {
        using var folder = new TemporaryFolder();
        folder.Write("tokenizer.json", "{\"version\": \"1.0\"}");
        var e = Assert.Throws<DataFormatException>(() => Tokenizer.Load(folder.Path));
        Assert.Contains("model", e.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Load_RefusesEveryTruncation()
    {
        byte[] whole = File.ReadAllBytes(Paths.TinyMath("tokenizer.model"));
        using var folder = new TemporaryFolder();
        // The last section, {normalizer}, may be absent: its defaults are another tokenizer, but a valid one.
        int lastSection = whole.AsSpan().LastIndexOf("identity"u8) - 4;
        for (int length = 1; length < whole.Length; length += length < 200 ? 1 : 211)
        {
            if (length != lastSection)
                Assert.Throws<DataFormatException>(() => Tokenizer.Load(folder.Write("cut.model", whole[..length])));
        }
    }

    private static void CheckGoldens(string model, string goldens, bool isData = false)
    {
        var tokenizer = Tokenizer.Load(model);
        using var json = JsonDocument.Parse(File.ReadAllBytes(goldens));
        int count = 0;
        foreach (var item in json.RootElement.GetProperty("cases").EnumerateArray())
        {
            int[] ids = [.. item.GetProperty("ids").EnumerateArray().Select(x => x.GetInt32())];
            string text = item.GetProperty("text").GetString()!;
            var encoded = new List<int>();
            tokenizer.Encode(text, continues: false, encoded, isData ? [new TextSpan(0, text.Length)] : null);   // SentencePiece knows no control tokens in text
            Assert.Equal(ids, encoded);
            Assert.Equal(item.GetProperty("decoded").GetString(), tokenizer.Decode(ids, showSpecial: true));
            count++;
        }
        Assert.True(count > 100);
    }
}
