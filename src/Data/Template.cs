namespace SorsaOrt.Data;

/// <summary>A stretch of a rendered row.</summary>
/// <param name="Text">The text.</param>
/// <param name="Learn">Loss counts on it.</param>
/// <param name="Continues">Encoded as going on from the stretch before (no space put before it).</param>
/// <param name="Data">What of it comes from the row: no control token is made of that. Null: the text is taken as it is.</param>
public readonly record struct Segment(string Text, bool Learn, bool Continues, IReadOnlyList<TextSpan>? Data = null);

/// <summary>How a row becomes the text a model sees.</summary>
/// <remarks>
/// alpaca: the training prompt of the reference (Gunale0926/SORSA dataset.py), ending "### Response:"; the answer is encoded apart from it, as there.
/// alpaca-cot: the same with " Let's think step by step." after it. chatml: &lt;|im_start|&gt;role\ncontent&lt;|im_end|&gt;\n turns.
/// none: the question as it is, then the answer; what spells a control token is one, as in rows of {text}. A file with a chat template (.jinja, or
/// the tokenizer_config.json that holds it): the model's own turns (<see cref="ChatTemplate"/>). Another file: its text with {query} or {instruction}
/// (the question; both mean the same) and {input} (empty where a row has none) filled in once; all else stands as it is, and one line end at the end of
/// the file is dropped. The answer follows directly. Where a row has an input and the template no place for it, the input follows the question on a line of its own.
/// </remarks>
public sealed class Template
{
    private const string AlpacaPreamble = "Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n### Instruction:\n";
    private const string AlpacaInputPreamble = "Below is an instruction that describes a task, paired with an input that provides further context. Write a response that appropriately completes the request.\n\n### Instruction:\n";
    private const string TurnEnd = "<|im_end|>";

    private readonly Func<string, string, MarkedText>? _prompt;
    private readonly ChatTemplate? _chat;

    internal Template(string name, Func<string, string, MarkedText>? prompt, ChatTemplate? chat = null) => (Name, _prompt, _chat) = (name, prompt, chat);

    /// <summary>The reference's training prompt.</summary>
    public static Template Alpaca { get; } = new("alpaca", AlpacaPrompt);

    /// <summary>The reference's GSM8K scoring prompt: <see cref="Alpaca"/> and " Let's think step by step.".</summary>
    public static Template AlpacaCot { get; } = new("alpaca-cot", (question, input) => AlpacaPrompt(question, input).Add(" Let's think step by step."));

    /// <summary>ChatML turns, for conversations of any length.</summary>
    public static Template ChatMl { get; } = new("chatml", null);

    /// <summary>The question as it is.</summary>
    public static Template None { get; } = new("none", (question, input) => new MarkedText().Add(WithInput(question, input)));

    /// <summary>alpaca, alpaca-cot, chatml, none, or the path of a template file.</summary>
    public string Name { get; }

    /// <summary>Whether the tokenizer's BOS comes first; a model's own template writes it where it belongs.</summary>
    public bool BeginsWithBos => _chat is null;

    /// <summary>Whether an answer goes on from the prompt, with no space of the tokenizer's before it.</summary>
    public bool AnswerContinues => _prompt is null;

    /// <summary>A template by name, or from a file.</summary>
    /// <exception cref="DataFormatException">There is none, or it cannot be used.</exception>
    public static Template Load(string nameOrFile) => nameOrFile switch
    {
        "alpaca" => Alpaca,
        "alpaca-cot" => AlpacaCot,
        "chatml" => ChatMl,
        "none" => None,
        _ => TemplateFile.Load(nameOrFile),
    };

    /// <summary>The prompt for a question, up to where the answer begins: for generation.</summary>
    /// <exception cref="DataFormatException">The model's own template refuses it.</exception>
    public IReadOnlyList<Segment> RenderPrompt(string question, string input = "")
    {
        if (_prompt is not null)
            return [PromptSegment(question, input)];
        ChatMessage[] user = [new("user", WithInput(question, input))];
        if (_chat is null)
            return [AddTurn(new MarkedText(), user[0]).Add("<|im_start|>assistant\n").ToSegment(learn: false, continues: false)];
        try
        {
            return [new MarkedText().Add(_chat.Render(user, addGenerationPrompt: true)).ToSegment(learn: false, continues: false)];
        }
        catch (NotSupportedException e)
        {
            throw new DataFormatException(Name, e.Message, "Use --template chatml, or a text file with {query}.", e);
        }
    }

    /// <summary>The tokens of <see cref="RenderPrompt"/> after BOS: what the model is given before it answers, as in training.</summary>
    public int[] EncodePrompt(Tokenizer tokenizer, string question, string input = "")
    {
        ArgumentNullException.ThrowIfNull(tokenizer);
        var ids = new List<int>(tokenizer.Encode("", addBos: BeginsWithBos));
        foreach (var segment in RenderPrompt(question, input))
            tokenizer.Encode(segment.Text, segment.Continues, ids, segment.Data);
        return [.. ids];
    }

    /// <summary>A row as stretches of text, in order; the end token is not among them.</summary>
    /// <exception cref="NotSupportedException">The row is a conversation this template cannot hold, or tokens.</exception>
    public IReadOnlyList<Segment> Render(Row row) => row switch
    {
        TextRow text => [new(text.Text, true, false)],
        PromptRow prompt when _prompt is null => RenderTurns([new("user", WithInput(prompt.Instruction, prompt.Input)), new("assistant", prompt.Response)]),
        PromptRow prompt => RenderAnswered(prompt.Instruction, prompt.Input, prompt.Response),
        ChatRow chat when _prompt is null => RenderTurns(chat.Messages),
        ChatRow { Messages: [{ Role: "user" } user, { Role: "assistant" } assistant] } => RenderAnswered(user.Content, "", assistant.Content),
        ChatRow => throw new NotSupportedException($"the template '{DataFormatException.Printable(Name)}' holds one question and one answer, and this conversation is more (use --template chatml)"),
        _ => throw new NotSupportedException("rows of tokens take no template"),
    };

    private Segment PromptSegment(string question, string input) =>
        _prompt!(question, input).ToSegment(learn: false, continues: false) is var segment && ReferenceEquals(this, None) ? segment with { Data = null } : segment;

    private Segment[] RenderAnswered(string question, string input, string answer) =>
        [PromptSegment(question, input), new(answer, true, false, ReferenceEquals(this, None) ? null : [new TextSpan(0, answer.Length)])];

    private List<Segment> RenderTurns(IReadOnlyList<ChatMessage> messages)
    {
        int last = messages.Count - 1;
        while (messages[last].Role != "assistant")   // nothing is learnt after the last answer
            last--;
        return _chat is null ? ChatMlTurns(messages, last) : OwnTurns(_chat, messages, last);
    }

    private static List<Segment> ChatMlTurns(IReadOnlyList<ChatMessage> messages, int last)
    {
        var segments = new List<Segment>();
        var between = new MarkedText();
        for (int i = 0; i <= last; i++)
        {
            if (messages[i].Role != "assistant")
            {
                AddTurn(between, messages[i]);
                continue;
            }
            segments.Add(between.Add("<|im_start|>assistant\n").ToSegment(learn: false, continues: segments.Count > 0));
            segments.Add(new MarkedText().AddData(messages[i].Content).Add(TurnEnd).ToSegment(learn: true, continues: true));
            between = new MarkedText().Add("\n");
        }
        return segments;
    }

    /// <summary>An answer is what the template writes for it beyond the prompt it gives for generation, with the end of its turn, without white space after that.</summary>
    private static List<Segment> OwnTurns(ChatTemplate chat, IReadOnlyList<ChatMessage> messages, int last)
    {
        var segments = new List<Segment>();
        int done = 0;
        for (int i = 0; i <= last; i++)
        {
            if (messages[i].Role != "assistant")
                continue;
            var prompt = new MarkedText().Add(chat.Render([.. messages.Take(i)], addGenerationPrompt: true));
            var answered = new MarkedText().Add(chat.Render([.. messages.Take(i + 1)], addGenerationPrompt: false));
            if (!answered.StartsWith(prompt) || prompt.Length < done)
                throw new NotSupportedException("the model's chat template does not begin an answer with its own generation prompt, or changes turns after the fact, so what is to be learnt cannot be told (use --template chatml)");
            if (prompt.Length > done)
                segments.Add(prompt.ToSegment(learn: false, continues: done > 0, from: done));
            done = Math.Max(prompt.Length, answered.TrimmedLength);
            segments.Add(answered.ToSegment(learn: true, continues: true, from: prompt.Length, to: done));
        }
        return segments;
    }

    private static MarkedText AddTurn(MarkedText text, ChatMessage message) =>
        text.Add($"<|im_start|>{message.Role}\n").AddData(message.Content).Add(TurnEnd + "\n");

    private static MarkedText AlpacaPrompt(string question, string input) => input.Length == 0
        ? new MarkedText().Add(AlpacaPreamble).AddData(question).Add("\n\n### Response:")
        : new MarkedText().Add(AlpacaInputPreamble).AddData(question).Add("\n\n### Input:\n").AddData(input).Add("\n\n### Response:");

    internal static string WithInput(string question, string input) => input.Length == 0 ? question : $"{question}\n{input}";
}
