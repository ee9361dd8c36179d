namespace SorsaOrt.Data.Tests;

public sealed class RowFileTests : IDisposable
{
    private const string Good = "{\"question\": \"Q\", \"answer\": \"A\"}";
    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Theory]
    [InlineData("{\"question\": \"Q\"}", "'answer' is missing")]
    [InlineData("{\"question\": \"Q\", \"answer\": null}", "'answer' is null")]
    [InlineData("{\"question\": \"Q\", \"answer\": 7}", "'answer' is a number")]
    [InlineData("{\"question\": \"Q\", \"answer\": [\"A\"]}", "'answer' is an array")]
    [InlineData("{\"question\": \"Q\", \"answer\": \"  \"}", "nothing to learn")]
    [InlineData("{\"question\": \"Q\", \"answer\": \"A\", \"answer\": \"B\"}", "twice")]
    [InlineData("{\"Question\": \"Q\", \"Answer\": \"A\"}", "'Question', 'Answer'")]
    [InlineData("{\"question\": \"Q\", \"answer\": \"A\",}", "not one JSON object")]
    [InlineData("{\"question\": \"Q\", \"answer\": \"A\"} {}", "not one JSON object")]
    [InlineData("{'question': 'Q', 'answer': 'A'}", "not one JSON object")]
    [InlineData("{\"question\": \"Q\", \"answer\": \"A", "not one JSON object")]
    [InlineData("{\"question\": \"Q\", \"answer\": \"\\ud800\"}", "surrogate")]
    [InlineData("{\"question\": \"a\tb\", \"answer\": \"A\"}", "not one JSON object")]
    [InlineData("{\"question\": \"Q\", \"answer\": \"A\", \"n\": NaN}", "not one JSON object")]
    [InlineData("// comment", "not one JSON object")]
    [InlineData("null", "is null")]
    [InlineData("[1]", "is an array")]
    [InlineData("{}", "no fields")]
    [InlineData("{\"messages\": [{\"role\": \"user\", \"content\": \"hi\"}]}", "nothing to learn")]
    [InlineData("{\"messages\": [{\"role\": \"tool\", \"content\": \"hi\"}]}", "role 'tool'")]
    [InlineData("{\"messages\": [{\"role\": \"assistant\"}]}", "no content")]
    [InlineData("{\"input_ids\": [1, 2]}", "'labels' is missing")]
    [InlineData("{\"input_ids\": [1, 2], \"labels\": [1]}", "has 2 entries but 'labels' has 1")]
    [InlineData("{\"input_ids\": [1, -2], \"labels\": [1, 2]}", "holds -2 at position 1")]
    [InlineData("{\"input_ids\": [1, 2], \"labels\": [1, -1]}", "holds -1 at position 1")]
    [InlineData("{\"input_ids\": [1, 2.5], \"labels\": [1, 2]}", "entry 1 of 'input_ids'")]
    [InlineData("{\"input_ids\": [1, 99999999999], \"labels\": [1, 2]}", "entry 1 of 'input_ids'")]
    public void Open_RefusesABadRowByLine_OrSkipsIt(string bad, string reason)
    {
        string path = _folder.Write("rows.jsonl", $"{Good}\n\n{bad}\n{Good}\n");
        var e = Assert.Throws<DataFormatException>(() => RowFile.Open(path));
        Assert.Equal((path, 3L), (e.File!, e.Line));
        Assert.Contains("rows.jsonl, line 3: ", e.Message, StringComparison.Ordinal);
        Assert.Contains(reason, e.Message, StringComparison.Ordinal);
        using var file = RowFile.Open(path, skipBadRows: true);
        Assert.Equal((2, 1), (file.Count, file.SkippedCount));
        Assert.Contains("line 3", file.FirstSkipped, StringComparison.Ordinal);
        Assert.Equal([1, 4], [file.LineOf(0), file.LineOf(1)]);
    }

    [Fact]
    public void Open_RefusesBytesThatAreNotUtf8()
    {
        string path = _folder.Write("rows.jsonl", [.. "{\"question\": \"Q\", \"answer\": \"A\", \"x\": \""u8, 0xC0, 0x80, .. "\"}"u8]);
        Assert.Equal(1, Assert.Throws<DataFormatException>(() => RowFile.Open(path)).Line);
    }

    [Fact]
    public void Read_RecognisesEveryKindOfRow()
    {
        string path = _folder.Write("rows.jsonl", """
            {"query": "q", "response": "r", "type": "GSM_Rephrased", "original_question": "o"}
            {"question": "q", "answer": "r"}
            {"instruction": "q", "input": "i", "output": "r", "text": "unused"}
            {"instruction": "q", "input": null, "output": "r"}
            {"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}, {"role": "assistant", "content": "a", "name": "x"}], "id": 1}
            {"text": "t"}
            {"input_ids": [1, 5], "labels": [-100, 5]}
            """);
        using var file = RowFile.Open(path);
        Assert.Equal(new PromptRow(1, "q", "", "r"), file.Read(0));
        Assert.Equal(new PromptRow(2, "q", "", "r"), file.Read(1));
        Assert.Equal(new PromptRow(3, "q", "i", "r"), file.Read(2));
        Assert.Equal(new PromptRow(4, "q", "", "r"), file.Read(3));
        Assert.Equal([new("system", "s"), new("user", "u"), new("assistant", "a")], Assert.IsType<ChatRow>(file.Read(4)).Messages);
        Assert.Equal(new TextRow(6, "t"), file.Read(5));
        Assert.Equal([-100, 5], Assert.IsType<TokenRow>(file.Read(6)).Labels);
    }

    [Fact]
    public void JsonArray_GivesTheSameRowsAsLines()
    {
        string[] rows = [.. Enumerable.Range(0, 3000).Select(i => $"{{\"question\": \"q{i} [{{\\\"\", \"answer\": \"{new string('é', i)}.\", \"x\": [[{i}], {{}}]}}")];
        using var lines = RowFile.Open(_folder.Write("rows.jsonl", string.Join("\r\n", rows)));
        using var array = RowFile.Open(_folder.Write("rows.json", "\uFEFF [\n" + string.Join(" ,\n", rows) + "\n]\n"));
        Assert.Equal(rows.Length, lines.Count);
        Assert.Equal(rows.Length, array.Count);
        for (int i = 0; i < rows.Length; i++)
            Assert.Equal(lines.Read(i), array.Read(i));
    }

    [Theory]
    [InlineData("[]", "no rows")]
    [InlineData("[1]", "line 1")]
    [InlineData("[" + Good + ", {\"question\": 1}]", "line 2")]
    [InlineData("[" + Good + ", {\"question\"", "row 2")]
    [InlineData("[" + Good + "] []", "row 2")]
    public void JsonArray_RefusesBadRows(string json, string where)
    {
        string path = _folder.Write("rows.json", json);
        Assert.Contains(where, Assert.Throws<DataFormatException>(() => RowFile.Open(path)).Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("rows.parquet", "Parquet")]
    [InlineData("rows.csv", "none of")]
    public void Open_RefusesOtherKindsOfFiles(string name, string word) =>
        Assert.Contains(word, Assert.Throws<DataFormatException>(() => RowFile.Open(_folder.Write(name, Good))).Message, StringComparison.Ordinal);

    [Fact]
    public void Fingerprint_IsTheSha256OfTheFile()
    {
        string path = _folder.Write("rows.jsonl", Good);
        using var file = RowFile.Open(path);
        Assert.Equal(Convert.ToHexStringLower(System.Security.Cryptography.SHA256.HashData(File.ReadAllBytes(path))), file.Fingerprint);
    }
}
