namespace SorsaOrt.Data;

/// <summary>A stretch of rendered text; data comes from a row and never becomes a control token.</summary>
internal readonly record struct RenderedPart(string Text, bool IsData);

/// <summary>A model's own chat_template, in the part of Jinja that chat templates of Llama, SmolLM2, Qwen and their like are written in.</summary>
/// <remarks>
/// for over messages (or a slice of them), if/elif/else, set of names, string literals joined by + or ~, comparisons, and/or/not, the names messages, message,
/// loop, add_generation_prompt, bos_token, eos_token, "| trim", "is defined", raise_exception(…). Anything else is refused by name. As in
/// transformers, the line end after a block and the blanks before one are dropped.
/// </remarks>
internal sealed class ChatTemplate
{
    private readonly IReadOnlyList<JinjaNode> _nodes;
    private readonly string _bos;
    private readonly string _eos;

    /// <summary>Reads a template.</summary>
    /// <exception cref="NotSupportedException">It holds something beyond the supported part; the message names it.</exception>
    public ChatTemplate(string text, string bos, string eos) => (_nodes, _bos, _eos) = (JinjaParser.Parse(text), bos, eos);

    /// <summary>The text of a conversation.</summary>
    /// <param name="messages">Its turns.</param>
    /// <param name="addGenerationPrompt">Whether what begins an answer follows.</param>
    /// <exception cref="NotSupportedException">The template itself refuses the conversation, or asks for something that is not supported.</exception>
    public IReadOnlyList<RenderedPart> Render(IReadOnlyList<ChatMessage> messages, bool addGenerationPrompt)
    {
        var scope = new Dictionary<string, object?>(StringComparer.Ordinal)
        {
            ["messages"] = messages,
            ["add_generation_prompt"] = addGenerationPrompt,
            ["bos_token"] = JinjaText.Of(_bos),
            ["eos_token"] = JinjaText.Of(_eos),
        };
        var output = new List<RenderedPart>();
        foreach (var node in _nodes)
            node.Render(scope, output);
        return output;
    }
}
