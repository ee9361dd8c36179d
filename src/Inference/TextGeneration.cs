using SorsaOrt.Data;

namespace SorsaOrt.Inference;

/// <summary>Text in, text out, piece by piece.</summary>
public static class TextGeneration
{
    /// <summary>Answers one question; the text comes in pieces, each as soon as its characters are certain.</summary>
    /// <param name="model">The model.</param>
    /// <param name="tokenizer">Its tokenizer.</param>
    /// <param name="template">How the question becomes a prompt.</param>
    /// <param name="question">The question.</param>
    /// <param name="options">How to choose; the tokenizer's end tokens end the answer as well as <see cref="DecodingOptions.StopIds"/>.</param>
    /// <param name="write">Receives the pieces.</param>
    /// <param name="cancellation">Looked at before every token.</param>
    public static Completion Stream(LanguageModel model, Tokenizer tokenizer, Template template, string question, DecodingOptions options,
        Action<string> write, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(model);
        ArgumentNullException.ThrowIfNull(tokenizer);
        ArgumentNullException.ThrowIfNull(template);
        ArgumentNullException.ThrowIfNull(write);
        model.Check(tokenizer);
        var pieces = new TokenStream(tokenizer, keepLeadingSpace: template.AnswerContinues);
        var stop = new StopStrings(options.StopTexts);
        var completion = Decoding.Complete(model, [template.EncodePrompt(tokenizer, question)], With(options, tokenizer), (_, token) =>
        {
            Write(stop.Append(pieces.Append(token)));
            return !stop.Found;
        }, cancellation)[0];
        Write(stop.Append(pieces.Flush()));
        Write(stop.Flush());
        return completion;

        void Write(string text)
        {
            if (text.Length > 0)
                write(text);
        }
    }

    /// <summary>The options with what the tokenizer says: where answers end, and no token that it does not have.</summary>
    internal static DecodingOptions With(DecodingOptions options, Tokenizer tokenizer) => options with
    {
        StopIds = [.. options.StopIds, .. tokenizer.EndIds],
        TokenCount = tokenizer.VocabularySize,
    };
}
