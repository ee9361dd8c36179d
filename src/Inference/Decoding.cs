namespace SorsaOrt.Inference;

/// <summary>Continues prompts in batches.</summary>
public static class Decoding
{
    /// <summary>Continues each prompt until an end token, the most tokens, or the model's last position.</summary>
    /// <param name="model">The model.</param>
    /// <param name="prompts">Token ids; any number, of any lengths. They are run in batches of like lengths.</param>
    /// <param name="options">How to choose, and when to stop.</param>
    /// <param name="onToken">Told every token as it is chosen, the prompt's number and the token; says whether to go on.</param>
    /// <param name="cancellation">Looked at before every step.</param>
    /// <returns>Continuations in the order of the prompts.</returns>
    public static IReadOnlyList<Completion> Complete(
        LanguageModel model, IReadOnlyList<int[]> prompts, DecodingOptions options, Func<int, int, bool>? onToken = null, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(model);
        ArgumentNullException.ThrowIfNull(prompts);
        ArgumentNullException.ThrowIfNull(options);
        options.Check();
        var texts = new Text[prompts.Count];
        for (int i = 0; i < texts.Length; i++)
            texts[i] = new Text(i, prompts[i], TokenChoice.Begin(options.Seed, i));
        var choice = new TokenChoice(options, model.VocabularySize);
        foreach (var batch in BatchPlan.Of(model, [.. prompts.Select(p => p.Length)], options.BatchSize, together: model.MixesLengths))
        {
            var rows = Array.ConvertAll(batch, i => texts[i]);
            new Run(model, options, choice, onToken).Complete(rows, cancellation);
        }
        return [.. texts.Select(t => new Completion(t.Tokens, t.Reason))];
    }

    private sealed class Text(int number, int[] prompt, ulong state)
    {
        public ulong State = state;
        public bool Ended;

        public int Number { get; } = number;
        public int[] Prompt { get; } = prompt;
        public List<int> Tokens { get; } = [];
        public StopReason Reason { get; private set; }

        public void End(StopReason reason) => (Ended, Reason) = (true, reason);
    }

    private readonly struct Run(LanguageModel model, DecodingOptions options, TokenChoice choice, Func<int, int, bool>? onToken)
    {
        public void Complete(Text[] texts, CancellationToken cancellation)
        {
            cancellation.ThrowIfCancellationRequested();
            using var continuation = model.Continue(Array.ConvertAll(texts, t => t.Prompt));
            int[] next = new int[texts.Length];
            while (true)
            {
                int running = 0;
                for (int row = 0; row < texts.Length; row++)
                {
                    if (!texts[row].Ended)
                        next[row] = Choose(texts[row], continuation.Logits.Slice(row * model.VocabularySize, model.VocabularySize));
                    running += texts[row].Ended ? 0 : 1;
                }
                if (running == 0)
                    return;
                cancellation.ThrowIfCancellationRequested();
                // Ended texts cost as much as others; dropping them copies the cache, so do it when a quarter has ended.
                if (texts.Length - running >= Math.Max(1, texts.Length / 4))
                    texts = Drop(continuation, texts, next);
                continuation.Append(next.AsSpan(0, texts.Length));
            }
        }

        private int Choose(Text text, ReadOnlySpan<float> logits)
        {
            int token = choice.Choose(logits, ref text.State);
            if (options.StopIds.Contains(token))
            {
                text.End(StopReason.EndToken);
                return token;
            }
            text.Tokens.Add(token);
            if (onToken?.Invoke(text.Number, token) == false)
                text.End(StopReason.StopText);
            else if (text.Tokens.Count >= options.MaxTokens)
                text.End(StopReason.MaxTokens);
            else if (text.Prompt.Length + text.Tokens.Count >= model.MaxPositions)
                text.End(StopReason.MaxPositions);
            return token;
        }

        private static Text[] Drop(Continuation continuation, Text[] texts, int[] next)
        {
            int[] running = [.. Enumerable.Range(0, texts.Length).Where(row => !texts[row].Ended)];
            if (!continuation.Keep(running))
                return texts;
            for (int i = 0; i < running.Length; i++)
                next[i] = next[running[i]];
            return Array.ConvertAll(running, row => texts[row]);
        }
    }
}
