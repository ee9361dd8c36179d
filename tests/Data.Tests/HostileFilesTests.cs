using SorsaOrt.TestSupport;

namespace SorsaOrt.Data.Tests;

public class HostileFilesTests
{
    public static IEnumerable<TheoryDataRow<string, int>> RowCases => HostileFiles.Cases("jsonl").Select(c => new TheoryDataRow<string, int>(c.Id, c.Variant));

    public static IEnumerable<TheoryDataRow<string, int>> TokenizerCases => HostileFiles.Cases("tokenizer-model").Select(c => new TheoryDataRow<string, int>(c.Id, c.Variant));

    public static IEnumerable<TheoryDataRow<string, int>> JsonTokenizerCases => HostileFiles.Cases("tokenizer-json").Select(c => new TheoryDataRow<string, int>(c.Id, c.Variant));

    [Theory]
    [MemberData(nameof(RowCases), DisableDiscoveryEnumeration = true)]
    public void RowFile_MeetsEveryHostileCase(string id, int variant) => HostileFiles.Check(id, variant, path =>
    {
        var encoder = new RowEncoder(Tokenizer.Load(Paths.TinyMath("tokenizer.model")), Template.Alpaca, 128, 1024);
        using var file = RowFile.Open(path, encoder.Check);
        int last = Math.Min(file.Count, 100);
        for (int i = 0; i < last; i++)
        {
            var row = encoder.Encode(file, file.Read(i));
            Assert.InRange(row.InputIds.Length, 2, 128);
            Assert.Equal(2, row.Labels[^1]);
        }
    });

    [Theory]
    [MemberData(nameof(TokenizerCases), DisableDiscoveryEnumeration = true)]
    [MemberData(nameof(JsonTokenizerCases), DisableDiscoveryEnumeration = true)]
    public void Tokenizer_MeetsEveryHostileCase(string id, int variant) => HostileFiles.Check(id, variant, path =>
    {
        var tokenizer = Tokenizer.Load(path);
        int[] ids = tokenizer.Encode("What is 2+2? \u597d 🙂 </s>\n" + new string('a', 1000), addBos: true);
        Assert.All(ids, id => Assert.InRange(id, 0, tokenizer.VocabularySize - 1));
        tokenizer.Encode(new string('a', 40) + "b");
        tokenizer.Decode(Enumerable.Range(0, tokenizer.VocabularySize));
    });
}
