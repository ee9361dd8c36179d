using System.Text;

namespace SorsaOrt.Data;

/// <summary>A stretch of a rendered row. <paramref name="Learn"/>: loss counts on it. <paramref name="Continues"/>: encoded as going on from the stretch before (no space put before it).</summary>
public readonly record struct Segment(string Text, bool Learn, bool Continues);

/// <summary>How a row becomes the text a model sees.</summary>
/// <remarks>
/// alpaca: the training prompt of the reference (Gunale0926/SORSA dataset.py), ending "### Response:"; the answer is encoded apart from it, as there.
/// alpaca-cot: the same with " Let's think step by step." after it. chatml: &lt;|im_start|&gt;role\ncontent&lt;|im_end|&gt;\n turns.
/// none: the question as it is, then the answer. A file: its text with {query} or {instruction} (the question; both mean the same) and {input}
/// (empty where a row has none) filled in once; all else stands as it is, and one line end at the end of the file is dropped. The answer follows directly.
/// Where a row has an input and the template no place for it, the input follows the question on a line of its own.
/// </remarks>
public sealed class Template
{
    private const long MaxFileBytes = 1 << 20;
    private const string AlpacaPreamble = "Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n### Instruction:\n";
    private const string AlpacaInputPreamble = "Below is an instruction that describes a task, paired with an input that provides further context. Write a response that appropriately completes the request.\n\n### Instruction:\n";
    private const string TurnEnd = "<|im_end|>";

    private readonly Func<string, string, string>? _prompt;

    private Template(string name, Func<string, string, string>? prompt)
    {
        Name = name;
        _prompt = prompt;
    }

    /// <summary>The reference's training prompt.</summary>
    public static Template Alpaca { get; } = new("alpaca", (question, input) => AlpacaPrompt(question, input));

    /// <summary>The reference's GSM8K scoring prompt: <see cref="Alpaca"/> and " Let's think step by step.".</summary>
    public static Template AlpacaCot { get; } = new("alpaca-cot", (question, input) => AlpacaPrompt(question, input) + " Let's think step by step.");

    /// <summary>ChatML turns; the only template for conversations of several turns.</summary>
    public static Template ChatMl { get; } = new("chatml", null);

    /// <summary>The question as it is.</summary>
    public static Template None { get; } = new("none", WithInput);

    /// <summary>alpaca, alpaca-cot, chatml, none, or the path of a template file.</summary>
    public string Name { get; }

    /// <summary>A template by name, or from a file with placeholders.</summary>
    public static Template Load(string nameOrFile) => nameOrFile switch
    {
        "alpaca" => Alpaca,
        "alpaca-cot" => AlpacaCot,
        "chatml" => ChatMl,
        "none" => None,
        _ => FromFile(nameOrFile),
    };

    /// <summary>The prompt for a question, up to where the answer begins: for generation.</summary>
    public IReadOnlyList<Segment> RenderPrompt(string question, string input = "") => _prompt is null
        ? [new($"<|im_start|>user\n{WithInput(question, input)}{TurnEnd}\n<|im_start|>assistant\n", false, false)]
        : [new(_prompt(question, input), false, false)];

    /// <summary>The tokens of <see cref="RenderPrompt"/> after BOS: what the model is given before it answers, as in training.</summary>
    public int[] EncodePrompt(Tokenizer tokenizer, string question, string input = "")
    {
        ArgumentNullException.ThrowIfNull(tokenizer);
        var ids = new List<int>(tokenizer.Encode("", addBos: true));
        foreach (var segment in RenderPrompt(question, input))
            tokenizer.Encode(segment.Text, segment.Continues, ids);
        return [.. ids];
    }

    /// <summary>A row as stretches of text, in order; the end token is not among them.</summary>
    /// <exception cref="NotSupportedException">The row is a conversation this template cannot hold, or tokens.</exception>
    public IReadOnlyList<Segment> Render(Row row) => row switch
    {
        TextRow text => [new(text.Text, true, false)],
        PromptRow prompt when _prompt is null => [.. RenderPrompt(prompt.Instruction, prompt.Input), new(prompt.Response + TurnEnd, true, true)],
        PromptRow prompt => [.. RenderPrompt(prompt.Instruction, prompt.Input), new(prompt.Response, true, false)],
        ChatRow chat when _prompt is null => RenderTurns(chat.Messages),
        ChatRow { Messages: [{ Role: "user" } user, { Role: "assistant" } assistant] } => [.. RenderPrompt(user.Content), new(assistant.Content, true, false)],
        ChatRow => throw new NotSupportedException($"the template '{DataFormatException.Printable(Name)}' holds one question and one answer, and this conversation is more (use --template chatml)"),
        _ => throw new NotSupportedException("rows of tokens take no template"),
    };

    private static List<Segment> RenderTurns(IReadOnlyList<ChatMessage> messages)
    {
        var segments = new List<Segment>();
        int last = messages.Count - 1;
        while (messages[last].Role != "assistant")   // nothing is learnt after the last answer
            last--;
        var between = new StringBuilder();
        for (int i = 0; i <= last; i++)
        {
            between.Append("<|im_start|>").Append(messages[i].Role).Append('\n');
            if (messages[i].Role != "assistant")
            {
                between.Append(messages[i].Content).Append(TurnEnd).Append('\n');
                continue;
            }
            segments.Add(new(between.ToString(), false, segments.Count > 0));
            segments.Add(new(messages[i].Content + TurnEnd, true, true));
            between.Clear().Append('\n');
        }
        return segments;
    }

    private static string AlpacaPrompt(string question, string input) => input.Length == 0
        ? $"{AlpacaPreamble}{question}\n\n### Response:"
        : $"{AlpacaInputPreamble}{question}\n\n### Input:\n{input}\n\n### Response:";

    private static string WithInput(string question, string input) => input.Length == 0 ? question : $"{question}\n{input}";

    private static Template FromFile(string path)
    {
        const string Names = "alpaca, alpaca-cot, chatml and none are the templates by name; a file is plain text with {query} or {instruction}, and {input}.";
        if (!File.Exists(path))
            throw new DataFormatException(path, "there is no template of this name, and no such file", Names);
        byte[] bytes = InputFile.ReadAll(path, "template", MaxFileBytes);
        string text;
        try
        {
            text = new UTF8Encoding(false, throwOnInvalidBytes: true).GetString(bytes.AsSpan().StartsWith("\uFEFF"u8) ? bytes.AsSpan(3) : bytes);
        }
        catch (DecoderFallbackException e)
        {
            throw new DataFormatException(path, "the template is not UTF-8", "Save it as UTF-8.", e);
        }
        text = text.EndsWith("\r\n", StringComparison.Ordinal) ? text[..^2] : text.EndsWith('\n') ? text[..^1] : text;
        var parts = Split(text);
        if (!parts.Contains("{query}"))
            throw new DataFormatException(path, "the template has no {query} or {instruction}", "Put one where the question belongs.");
        bool hasInput = parts.Contains("{input}");
        return new Template(path, (question, input) => string.Concat(parts.Select(part => part switch
        {
            "{query}" => hasInput ? question : WithInput(question, input),
            "{input}" => input,
            _ => part,
        })));
    }

    /// <summary>Cuts a template at its placeholders, so that they are filled in one pass and braces in the data mean nothing.</summary>
    private static List<string> Split(string text)
    {
        var parts = new List<string>();
        int from = 0;
        for (int at = 0; at < text.Length; at++)
        {
            string? placeholder = Array.Find(["{query}", "{instruction}", "{input}"], p => text.AsSpan(at).StartsWith(p, StringComparison.Ordinal));
            if (placeholder is null)
                continue;
            parts.Add(text[from..at]);
            parts.Add(placeholder == "{instruction}" ? "{query}" : placeholder);
            from = at + placeholder.Length;
            at = from - 1;
        }
        parts.Add(text[from..]);
        return parts;
    }
}
