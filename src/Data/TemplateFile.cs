using System.Text;
using System.Text.Json;
using SorsaOrt.Data.TokenizerJson;

namespace SorsaOrt.Data;

/// <summary>Templates out of files: with placeholders, or a model's own chat template.</summary>
internal static class TemplateFile
{
    private const long MaxFileBytes = 1 << 20;

    /// <summary>Reads a file: .jinja and .json hold a chat template, others a text with placeholders.</summary>
    public static Template Load(string path)
    {
        const string Names = "alpaca, alpaca-cot, chatml and none are the templates by name; a file is plain text with {query} or {instruction}, and {input}, "
            + "or a model's chat template (chat_template.jinja, tokenizer_config.json).";
        if (!File.Exists(path))
            throw new DataFormatException(path, "there is no template of this name, and no such file", Names);
        string text = ReadText(path, "template");
        return Path.GetExtension(path).ToUpperInvariant() switch
        {
            ".JINJA" => OwnTemplate(path, text, Path.Combine(Path.GetDirectoryName(Path.GetFullPath(path))!, "tokenizer_config.json")),
            ".JSON" => OwnTemplate(path, null, path),
            _ => WithPlaceholders(path, text),
        };
    }

    private static Template OwnTemplate(string path, string? text, string configPath)
    {
        const string Remedy = "Use --template chatml, or a text file with {query}.";
        string bos = "", eos = "";
        try
        {
            if (File.Exists(configPath))
            {
                using var config = JsonDocument.Parse(ReadText(configPath, "configuration"));
                text ??= config.RootElement.TextOrNull("chat_template");
                bos = TokenizerSettings.Token(config.RootElement, "bos_token") ?? "";
                eos = TokenizerSettings.Token(config.RootElement, "eos_token") ?? "";
            }
            return new Template(path, null, new ChatTemplate(text ?? throw new NotSupportedException("it has no chat_template"), bos, eos));
        }
        catch (Exception e) when (e is NotSupportedException or FormatException or InvalidOperationException)
        {
            throw new DataFormatException(path, e.Message, Remedy, e);
        }
        catch (JsonException e)
        {
            throw new DataFormatException(configPath, $"the file is not JSON ({DataFormatException.Printable(e.Message)})", Remedy, e);
        }
    }

    private static string ReadText(string path, string what)
    {
        byte[] bytes = InputFile.ReadAll(path, what, MaxFileBytes);
        try
        {
            return new UTF8Encoding(false, throwOnInvalidBytes: true).GetString(bytes.AsSpan().StartsWith("\uFEFF"u8) ? bytes.AsSpan(3) : bytes);
        }
        catch (DecoderFallbackException e)
        {
            throw new DataFormatException(path, $"the {what} is not UTF-8", "Save it as UTF-8.", e);
        }
    }

    private static Template WithPlaceholders(string path, string text)
    {
        text = text.EndsWith("\r\n", StringComparison.Ordinal) ? text[..^2] : text.EndsWith('\n') ? text[..^1] : text;
        var parts = Split(text);
        if (!parts.Contains("{query}"))
            throw new DataFormatException(path, "the template has no {query} or {instruction}", "Put one where the question belongs.");
        bool hasInput = parts.Contains("{input}");
        return new Template(path, (question, input) => parts.Aggregate(new MarkedText(), (filled, part) => part switch
        {
            "{query}" => filled.AddData(hasInput ? question : Template.WithInput(question, input)),
            "{input}" => filled.AddData(input),
            _ => filled.Add(part),
        }));
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
