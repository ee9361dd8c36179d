namespace SorsaOrt.Data.TokenizerJson;

/// <summary>A token that is found in the text before anything else, whole.</summary>
/// <param name="Id">Its id.</param>
/// <param name="Content">How it is spelled.</param>
/// <param name="IsSpecial">A control token: it has no text of its own.</param>
/// <param name="IsNormalized">It is looked for in the normalised text.</param>
/// <param name="TakesLeft">White space before it belongs to it.</param>
/// <param name="TakesRight">White space after it belongs to it.</param>
/// <param name="IsWord">It counts only where no letter or digit stands beside it.</param>
internal sealed record AddedToken(int Id, string Content, bool IsSpecial, bool IsNormalized, bool TakesLeft, bool TakesRight, bool IsWord);

/// <summary>Cuts a text at its added tokens: leftmost first, of those the longest.</summary>
/// <remarks>Source: huggingface/tokenizers, tokenizer/added_vocabulary.rs.</remarks>
internal sealed class AddedTokens
{
    private readonly Dictionary<char, AddedToken[]> _byFirst;
    private readonly System.Buffers.SearchValues<char> _firsts;

    public AddedTokens(IEnumerable<AddedToken> tokens)
    {
        _byFirst = tokens.GroupBy(t => t.Content[0]).ToDictionary(g => g.Key, g => g.OrderByDescending(t => t.Content.Length).ToArray());
        _firsts = System.Buffers.SearchValues.Create([.. _byFirst.Keys]);
    }

    /// <summary>A stretch of text (Token null), or a token.</summary>
    public readonly record struct Part(string Text, AddedToken? Token);

    /// <summary>The parts of a text, in order. A special token that touches <paramref name="data"/> is plain text: data never becomes control.</summary>
    public IEnumerable<Part> Split(string text, IReadOnlyList<TextSpan> data)
    {
        int from = 0;
        for (int at = 0; at < text.Length; at++)
        {
            int next = text.AsSpan(at).IndexOfAny(_firsts);
            if (next < 0)
                break;
            at += next;
            if (TokenAt(text, at, data) is not { } token)
                continue;
            int start = at, end = at + token.Content.Length;
            while (token.TakesLeft && start > from && char.IsWhiteSpace(text[start - 1]))
                start--;
            while (token.TakesRight && end < text.Length && char.IsWhiteSpace(text[end]))
                end++;
            if (start > from)
                yield return new(text[from..start], null);
            yield return new(token.Content, token);
            from = end;
            at = end - 1;
        }
        if (from < text.Length)
            yield return new(from == 0 ? text : text[from..], null);
    }

    private AddedToken? TokenAt(string text, int at, IReadOnlyList<TextSpan> data)
    {
        foreach (var token in _byFirst[text[at]])
        {
            int end = at + token.Content.Length;
            if (!text.AsSpan(at).StartsWith(token.Content, StringComparison.Ordinal))
                continue;
            if (token.IsWord && (at > 0 && char.IsLetterOrDigit(text[at - 1]) || end < text.Length && char.IsLetterOrDigit(text[end])))
                continue;
            if (token.IsSpecial && data.Any(d => at < d.Start + d.Length && d.Start < end))
                continue;
            return token;
        }
        return null;
    }
}
