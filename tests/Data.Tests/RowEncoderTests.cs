using System.Text.Json;
using SorsaOrt.TestSupport;

namespace SorsaOrt.Data.Tests;

public sealed class RowEncoderTests : IDisposable
{
    private const string AlpacaPrompt = "Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n### Instruction:\nWhat is 2+2?\n\n### Response:";
    private readonly TemporaryFolder _folder = new();
    private readonly Tokenizer _tokenizer = Tokenizer.Load(Paths.TinyMath("tokenizer.model"));

    public void Dispose() => _folder.Dispose();

    private EncodedRow Encode(string json, Template template, int maxLength = 512)
    {
        var encoder = new RowEncoder(_tokenizer, template, maxLength, 1024);
        using var file = RowFile.Open(_folder.Write("rows.jsonl", json), encoder.Check);
        return encoder.Encode(file, file.Read(0));
    }

    [Fact]
    public void Alpaca_GivesBosPromptAnswerEos_EncodedApartAsTheReferenceDoes()
    {
        int[] prompt = Golden(AlpacaPrompt), answer = Golden("The answer is: 42");
        var row = Encode("""{"query": "What is 2+2?", "response": "The answer is: 42"}""", Template.Alpaca);
        Assert.Equal([1, .. prompt, .. answer, 2], row.InputIds);
        Assert.Equal([.. Enumerable.Repeat(-100, prompt.Length + 1), .. answer, 2], row.Labels);
    }

    [Fact]
    public void Cut_TakesFromTheLeftOfThePrompt_AndKeepsBosAndTheEnd()
    {
        int[] prompt = Golden(AlpacaPrompt), answer = Golden("The answer is: 42");
        const string Json = """{"query": "What is 2+2?", "response": "The answer is: 42"}""";
        var row = Encode(Json, Template.Alpaca, maxLength: answer.Length + 5);
        Assert.Equal([1, .. prompt[^3..], .. answer, 2], row.InputIds);
        Assert.Equal([-100, -100, -100, -100, .. answer, 2], row.Labels);
        Assert.Equal([1, answer[^1], 2], Encode(Json, Template.Alpaca, maxLength: 3).InputIds);
    }

    [Fact]
    public void Text_LearnsEverything_AndIsCutAtItsEnd()
    {
        var row = Encode("""{"text": "Hello world"}""", Template.None);
        Assert.Equal([1, .. Golden("Hello world"), 2], row.InputIds);
        Assert.Equal(row.InputIds, row.Labels);
        Assert.Equal([1, .. Golden("Hello world")[..2]], Encode("""{"text": "Hello world"}""", Template.None, maxLength: 3).InputIds);
    }

    [Fact]
    public void ChatMl_LearnsEveryAnswerAndItsEnd_AndNothingElse()
    {
        var row = Encode("""{"messages": [{"role": "system", "content": "S"}, {"role": "user", "content": "U"}, {"role": "assistant", "content": "A1"}, {"role": "user", "content": "V"}, {"role": "assistant", "content": "A2"}, {"role": "user", "content": "W"}]}""", Template.ChatMl);
        string whole = "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nU<|im_end|>\n<|im_start|>assistant\nA1<|im_end|>\n<|im_start|>user\nV<|im_end|>\n<|im_start|>assistant\nA2<|im_end|>";
        Assert.Equal(whole, _tokenizer.Decode(row.InputIds));
        int[] learnt = [.. row.Labels.Where(l => l != -100)];
        int[] first = _tokenizer.Encode("A1<|im_end|>", continues: true), second = _tokenizer.Encode("A2<|im_end|>", continues: true);
        Assert.Equal([.. first, .. second, 2], learnt);
    }

    [Fact]
    public void Alpaca_RefusesLongerConversations_AndTakesOneTurn()
    {
        Assert.Equal(
            Encode("""{"query": "u", "response": "a"}""", Template.Alpaca).InputIds,
            Encode("""{"messages": [{"role": "user", "content": "u"}, {"role": "assistant", "content": "a"}]}""", Template.Alpaca).InputIds);
        var e = Assert.Throws<DataFormatException>(() =>
            Encode("""{"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}, {"role": "assistant", "content": "a"}]}""", Template.Alpaca));
        Assert.Equal(1, e.Line);
        Assert.Contains("chatml", e.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("""{"input_ids": [1, 5, 6], "labels": [1, -100, -100]}""", "nothing to learn")]
    [InlineData("""{"input_ids": [], "labels": []}""", "nothing to learn")]
    [InlineData("""{"input_ids": [1, 5, 6, 7, 8], "labels": [1, 5, -100, -100, -100]}""", "last 4 tokens")]
    [InlineData("""{"input_ids": [1, 1024], "labels": [1, 5]}""", "has 1024 tokens")]
    [InlineData("""{"input_ids": [1, 5], "labels": [1, 5000]}""", "has 1024 tokens")]
    public void Check_RefusesTokensThatCannotBeUsed(string json, string reason)
    {
        var encoder = new RowEncoder(null, Template.None, 4, 1024);
        string path = _folder.Write("rows.jsonl", json);
        Assert.Contains(reason, Assert.Throws<DataFormatException>(() => RowFile.Open(path, encoder.Check)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Check_RefusesTextWithoutATokenizer_EvenWhenBadRowsAreSkipped()
    {
        var encoder = new RowEncoder(null, Template.None, 4, 1024);
        string path = _folder.Write("rows.jsonl", """{"text": "x"}""");
        Assert.Contains("--tokenizer", Assert.Throws<DataFormatException>(() => RowFile.Open(path, encoder.Check, skipBadRows: true)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Encoder_RefusesATokenizerLargerThanTheModel() =>
        Assert.Contains("1023", Assert.Throws<DataFormatException>(() => new RowEncoder(_tokenizer, Template.None, 8, 1023)).Message, StringComparison.Ordinal);

    [Fact]
    public void TemplateFile_FillsItsPlacesOnce()
    {
        string path = _folder.Write("my.txt", "Q: {instruction} ({input})\nA:\n");
        Assert.Equal("Q: {input} (b)\nA:", Template.Load(path).RenderPrompt("{input}", "b")[0].Text);
        Assert.Equal("Q: a\nb\nA:", Template.Load(_folder.Write("no-input.txt", "Q: {query}\nA:")).RenderPrompt("a", "b")[0].Text);
        Assert.Contains("{query}", Assert.Throws<DataFormatException>(() => Template.Load(_folder.Write("bad.txt", "Q:"))).Message, StringComparison.Ordinal);
        Assert.Contains("alpaca-cot", Assert.Throws<DataFormatException>(() => Template.Load("alpacca")).Message, StringComparison.Ordinal);
    }

    private const string SmolTemplate = "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nHelp.<|im_end|>\n' }}{% endif %}"
        + "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

    [Fact]
    public void OwnChatTemplate_RendersAsJinjaDoes_AndLearnsEveryAnswer()
    {
        var template = Template.Load(_folder.Write("chat_template.jinja", SmolTemplate));
        Assert.Equal("<|im_start|>system\nHelp.<|im_end|>\n<|im_start|>user\nU<|im_end|>\n<|im_start|>assistant\n", template.RenderPrompt("U")[0].Text);
        var segments = template.Render(new ChatRow(1, [new("user", "U"), new("assistant", "A"), new("user", "V"), new("assistant", "B")]));
        Assert.Equal(["A<|im_end|>", "B<|im_end|>"], segments.Where(s => s.Learn).Select(s => s.Text));
        Assert.Equal("<|im_start|>system\nHelp.<|im_end|>\n<|im_start|>user\nU<|im_end|>\n<|im_start|>assistant\nA<|im_end|>\n<|im_start|>user\nV<|im_end|>\n<|im_start|>assistant\nB<|im_end|>",
            string.Concat(segments.Select(s => s.Text)));
    }

    [Theory]
    [InlineData("{%- set loop_messages = messages %}{%- for m in loop_messages %}\n  {%- if m.role == 'user' %}[{{ m.content | trim }}]{% else %}{{ bos_token ~ m.content }}{% endif %}\n{%- endfor %}", "[U]")]
    [InlineData("{# note #}\n{% for m in messages[0:] %}\n  {% if not loop.last or m['role'] is defined %}\n{{ m['content'] }};{% endif %}\n{% endfor %}end", " U ;end")]
    public void OwnChatTemplate_KeepsWhiteSpaceAsTransformersDoes(string jinja, string expected)
    {
        jinja = jinja.Replace("\\n", "\n", StringComparison.Ordinal);
        Assert.Equal(expected, Template.Load(_folder.Write("t.jinja", jinja)).RenderPrompt(" U ")[0].Text);
    }

    [Theory]
    [InlineData("{% macro x() %}{% endmacro %}", "'macro'")]
    [InlineData("{{ messages | tojson }}", "'tojson'")]
    [InlineData("{{ strftime_now('%d') }}", "'strftime_now'")]
    [InlineData("{% for m in messages %}", "endfor")]
    [InlineData("{{ raise_exception('no system') }}", "no system")]
    public void OwnChatTemplate_NamesWhatItDoesNotSupport(string jinja, string word)
    {
        string path = _folder.Write("t.jinja", jinja);
        Assert.Contains(word, Assert.Throws<DataFormatException>(() => Template.Load(path).RenderPrompt("U")).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Data_NeverBecomesControlTokens_ButTheTemplateDoes()
    {
        var tokenizer = Tokenizer.Load(Paths.Fixture("tokenizers", "smollm2-tokenizer.json"));
        var encoder = new RowEncoder(tokenizer, Template.ChatMl, 512, 49152);
        using var file = RowFile.Open(_folder.Write("rows.jsonl", """{"question": "a<|im_end|>", "answer": "b<|im_start|>"}"""), encoder.Check);
        var row = encoder.Encode(file, file.Read(0));
        Assert.Equal(2, row.InputIds.Count(id => id == 1));   // user and assistant
        Assert.Equal(2, row.InputIds.Count(id => id == 2));   // the ends of both turns
        Assert.Equal(2, row.Labels[^1]);
    }

    [Fact]
    public void AlpacaCot_AddsTheReferencesWords() =>
        Assert.Equal(AlpacaPrompt + " Let's think step by step.", Template.Load("alpaca-cot").RenderPrompt("What is 2+2?")[0].Text);

    [Theory]
    [InlineData("alpaca")]
    [InlineData("chatml")]
    [InlineData("none")]
    public void EncodePrompt_IsTheUnlearntBeginningOfATrainingRow(string name)
    {
        var template = Template.Load(name);
        var row = Encode("""{"instruction": "What is 2+2?", "input": "Be brief.", "output": "4"}""", template);
        int[] prompt = template.EncodePrompt(_tokenizer, "What is 2+2?", "Be brief.");
        Assert.Equal(prompt, row.InputIds[..prompt.Length]);
        Assert.Equal(Array.FindIndex(row.Labels, l => l != -100), prompt.Length);
    }

    private static int[] Golden(string text)
    {
        using var json = JsonDocument.Parse(File.ReadAllBytes(Paths.Fixture("tokenizers", "tiny-math.json")));
        var item = json.RootElement.GetProperty("cases").EnumerateArray().First(c => c.GetProperty("text").GetString() == text);
        return [.. item.GetProperty("ids").EnumerateArray().Select(x => x.GetInt32())];
    }
}
