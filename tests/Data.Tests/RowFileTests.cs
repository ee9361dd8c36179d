using System.Text.Json.Serialization;
using Parquet.Serialization;

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
    [InlineData("rows.parquet", "the Parquet file is damaged")]
    [InlineData("rows.csv", "none of")]
    public void Open_RefusesOtherKindsOfFiles(string name, string word) =>
        Assert.Contains(word, Assert.Throws<DataFormatException>(() => RowFile.Open(_folder.Write(name, Good))).Message, StringComparison.Ordinal);

    [Fact]
    public async Task Parquet_GivesTheSameRowsAsLines()
    {
        string path = Path.Combine(_folder.Path, "rows.parquet");
        ParquetRow[] rows = [.. Enumerable.Range(0, 500).Select(i => new ParquetRow { Question = $"q{i} é", Answer = i == 7 ? null : $"a{i}", Other = i })];
        await ParquetSerializer.SerializeAsync(rows, path, cancellationToken: TestContext.Current.CancellationToken);
        var e = Assert.Throws<DataFormatException>(() => RowFile.Open(path));
        Assert.Equal(8, e.Line);
        using var file = RowFile.Open(path, skipBadRows: true);
        Assert.Equal((499, 1), (file.Count, file.SkippedCount));
        Assert.Equal(new PromptRow(1, "q0 é", "", "a0"), file.Read(0));
        Assert.Equal(new PromptRow(500, "q499 é", "", "a499"), file.Read(498));
        Assert.Equal(Convert.ToHexStringLower(System.Security.Cryptography.SHA256.HashData(File.ReadAllBytes(path))), file.Fingerprint);
    }

    [Fact]
    public async Task Parquet_ReadsConversationsAndTokens()
    {
        string chats = Path.Combine(_folder.Path, "chats.parquet"), tokens = Path.Combine(_folder.Path, "tokens.parquet");
        await ParquetSerializer.SerializeAsync([
            new ParquetChat { Messages = [new() { Role = "user", Content = "u" }, new() { Role = "assistant", Content = "a" }] },
            new ParquetChat { Messages = [] },
            new ParquetChat { Messages = [new() { Role = "assistant", Content = "b" }] }], chats, cancellationToken: TestContext.Current.CancellationToken);
        await ParquetSerializer.SerializeAsync([new ParquetTokens { InputIds = [1, 5, 6], Labels = [-100, 5, 6] }, new ParquetTokens { InputIds = [7, 8], Labels = [7, 8] }], tokens, cancellationToken: TestContext.Current.CancellationToken);
        using var chatRows = RowFile.Open(chats, skipBadRows: true);
        Assert.Equal(2, chatRows.Count);
        Assert.Equal([new("user", "u"), new("assistant", "a")], Assert.IsType<ChatRow>(chatRows.Read(0)).Messages);
        Assert.Equal([new("assistant", "b")], Assert.IsType<ChatRow>(chatRows.Read(1)).Messages);
        using var tokenRows = RowFile.Open(tokens);
        Assert.Equal([-100, 5, 6], Assert.IsType<TokenRow>(tokenRows.Read(0)).Labels);
        Assert.Equal([7, 8], Assert.IsType<TokenRow>(tokenRows.Read(1)).InputIds);
    }

    [Fact]
    public async Task Parquet_RefusesEveryTruncationAndManyFlips()
    {
        string path = Path.Combine(_folder.Path, "rows.parquet");
        await ParquetSerializer.SerializeAsync([new ParquetRow { Question = "q", Answer = "a" }], path, cancellationToken: TestContext.Current.CancellationToken);
        byte[] whole = File.ReadAllBytes(path);
        for (int length = 1; length < whole.Length; length += 7)
            Assert.Throws<DataFormatException>(() => RowFile.Open(_folder.Write("cut.parquet", whole[..length])));
        for (int variant = 0; variant < 20; variant++)
        {
            var error = Record.Exception(() => RowFile.Open(_folder.Write("flipped.parquet", TestSupport.HostileCase.Flip(whole, 9, 2, 0, variant))).Dispose());
            Assert.True(error is null or DataFormatException, $"variant {variant}: {error}");
        }
    }

    [Fact]
    public void Fingerprint_IsTheSha256OfTheFile()
    {
        string path = _folder.Write("rows.jsonl", Good);
        using var file = RowFile.Open(path);
        Assert.Equal(Convert.ToHexStringLower(System.Security.Cryptography.SHA256.HashData(File.ReadAllBytes(path))), file.Fingerprint);
    }

    private sealed class ParquetRow
    {
        [JsonPropertyName("question")]
        public string? Question { get; set; }

        [JsonPropertyName("answer")]
        public string? Answer { get; set; }

        public int Other { get; set; }
    }

    private sealed class ParquetChat
    {
        [JsonPropertyName("messages")]
        public List<ParquetMessage>? Messages { get; set; }
    }

    private sealed class ParquetMessage
    {
        [JsonPropertyName("role")]
        public string? Role { get; set; }

        [JsonPropertyName("content")]
        public string? Content { get; set; }
    }

    private sealed class ParquetTokens
    {
        [JsonPropertyName("input_ids")]
        public List<long>? InputIds { get; set; }

        [JsonPropertyName("labels")]
        public List<int>? Labels { get; set; }
    }
}
