using System.Text.Json;
using System.Text.Unicode;

namespace SorsaOrt.Data;

/// <summary>One JSON object to a <see cref="Row"/>, by its fields. Strict: RFC 8259, valid UTF-8, bounded depth, no known field twice.</summary>
internal static class RowParser
{
    public const int MaxDepth = 64;
    /// <summary>Label of a token that does not count in the loss.</summary>
    public const int NoLabel = -100;
    private const string Known =
        "{query, response}, {question, answer}, {instruction, input, output}, {messages}, {text} or {input_ids, labels}";
    private const string Remedy = "Correct the row, or pass --skip-bad-rows to leave such rows out.";

    internal static readonly string[] Texts = ["query", "response", "question", "answer", "instruction", "input", "output", "text"];

    /// <summary>Parses one row; throws <see cref="DataFormatException"/> with file and line.</summary>
    public static Row Parse(ReadOnlySpan<byte> json, string file, int line)
    {
        if (!Utf8.IsValid(json))
            throw Bad(file, line, "the row is not valid UTF-8");
        try
        {
            return new Fields(json).ToRow(line);
        }
        catch (JsonException e)
        {
            throw Bad(file, line, $"this is not one JSON object ({Where(e)})", e);
        }
        catch (InvalidOperationException e)   // a lone surrogate in a string
        {
            throw Bad(file, line, "a string holds half a surrogate pair (\\ud800 to \\udfff), which is no character", e);
        }
        catch (RowException e)
        {
            throw Bad(file, line, e.Message, e);
        }
    }

    internal static DataFormatException Bad(string file, long line, string reason, Exception? inner = null) => new(file, line, reason, Remedy, inner);

    private static string Where(JsonException e)
    {
        string message = e.Message;
        int tail = message.IndexOf(" LineNumber:", StringComparison.Ordinal);
        return DataFormatException.Printable((tail < 0 ? message : message[..tail]).TrimEnd('.')) + $", byte {e.BytePositionInLine + 1}";
    }

    private sealed class RowException(string message) : Exception(message);

    /// <summary>The known fields of one object.</summary>
    private sealed class Fields
    {
        private readonly Dictionary<string, string?> _texts = new(StringComparer.Ordinal);
        private readonly List<string> _unknown = [];
        private readonly List<ChatMessage>? _messages;
        private readonly int[]? _inputIds;
        private readonly int[]? _labels;

        public Fields(ReadOnlySpan<byte> json)
        {
            var reader = new Utf8JsonReader(json, new JsonReaderOptions { MaxDepth = MaxDepth });
            reader.Read();
            if (reader.TokenType != JsonTokenType.StartObject)
                throw new RowException($"the row is {Kind(reader.TokenType)}, not an object with fields");
            while (reader.Read() && reader.TokenType == JsonTokenType.PropertyName)
            {
                string name = reader.GetString()!;
                reader.Read();
                switch (name)
                {
                    case "messages": Once(_messages, name); _messages = ReadMessages(ref reader); break;
                    case "input_ids": Once(_inputIds, name); _inputIds = ReadIntegers(ref reader, name); break;
                    case "labels": Once(_labels, name); _labels = ReadIntegers(ref reader, name); break;
                    default: ReadText(ref reader, name); break;
                }
            }
            reader.Read();   // anything after the object is an error of the reader
        }

        public Row ToRow(int line)
        {
            if (_inputIds is not null)
                return TokenRow(line);
            if (_messages is not null)
                return new ChatRow(line, _messages);
            if (_texts.ContainsKey("query") || _texts.ContainsKey("response"))
                return new PromptRow(line, Text("query"), "", Answer("response"));
            if (_texts.ContainsKey("question") || _texts.ContainsKey("answer"))
                return new PromptRow(line, Text("question"), "", Answer("answer"));
            if (_texts.ContainsKey("instruction") || _texts.ContainsKey("output"))
                return new PromptRow(line, Text("instruction"), _texts.GetValueOrDefault("input") ?? "", Answer("output"));
            if (_texts.ContainsKey("text"))
                return new TextRow(line, Answer("text"));
            string has = _unknown.Count == 0 ? "no fields" : "the fields " + string.Join(", ", _unknown.Take(8).Select(n => $"'{DataFormatException.Printable(n)}'"));
            throw new RowException($"the row has {has}, but {Known} is needed (lower case)");
        }

        private string Text(string name) =>
            !_texts.TryGetValue(name, out string? text) ? throw new RowException($"the field '{name}' is missing")
            : text ?? throw new RowException($"the field '{name}' is null, not a text");

        private string Answer(string name) =>
            Text(name) is var text && string.IsNullOrWhiteSpace(text) ? throw new RowException($"the field '{name}' is empty: there is nothing to learn") : text;

        private TokenRow TokenRow(int line)
        {
            int[] labels = _labels ?? throw new RowException("the field 'labels' is missing beside 'input_ids'");
            if (labels.Length != _inputIds!.Length)
                throw new RowException($"'input_ids' has {_inputIds.Length} entries but 'labels' has {labels.Length}");
            int negative = Array.FindIndex(_inputIds, id => id < 0);
            if (negative >= 0)
                throw new RowException($"'input_ids' holds {_inputIds[negative]} at position {negative}: ids are 0 or more");
            int bad = Array.FindIndex(labels, label => label < 0 && label != NoLabel);
            if (bad >= 0)
                throw new RowException($"'labels' holds {labels[bad]} at position {bad}: labels are token ids, or −100 for no loss");
            return new TokenRow(line, _inputIds, labels);
        }

        private void ReadText(ref Utf8JsonReader reader, string name)
        {
            if (!Texts.Contains(name))
            {
                _unknown.Add(name);
                reader.Skip();
                return;
            }
            if (reader.TokenType is not (JsonTokenType.String or JsonTokenType.Null))
                throw new RowException($"the field '{name}' is {Kind(reader.TokenType)}, not a text");
            if (!_texts.TryAdd(name, reader.GetString()))
                throw new RowException($"the field '{name}' stands there twice");
        }

        private static void Once(object? value, string name)
        {
            if (value is not null)
                throw new RowException($"the field '{name}' stands there twice");
        }

        private static int[] ReadIntegers(ref Utf8JsonReader reader, string name)
        {
            if (reader.TokenType != JsonTokenType.StartArray)
                throw new RowException($"the field '{name}' is {Kind(reader.TokenType)}, not an array of numbers");
            var values = new List<int>();
            while (reader.Read() && reader.TokenType != JsonTokenType.EndArray)
            {
                if (reader.TokenType != JsonTokenType.Number || !reader.TryGetInt32(out int value))
                    throw new RowException($"entry {values.Count} of '{name}' is not a whole number of 32 bits");
                values.Add(value);
            }
            return [.. values];
        }

        private static List<ChatMessage> ReadMessages(ref Utf8JsonReader reader)
        {
            if (reader.TokenType != JsonTokenType.StartArray)
                throw new RowException($"the field 'messages' is {Kind(reader.TokenType)}, not an array");
            var messages = new List<ChatMessage>();
            while (reader.Read() && reader.TokenType != JsonTokenType.EndArray)
                messages.Add(ReadMessage(ref reader, messages.Count));
            if (!messages.Any(m => m.Role == "assistant"))
                throw new RowException("no message has the role 'assistant': there is nothing to learn");
            return messages;
        }

        private static ChatMessage ReadMessage(ref Utf8JsonReader reader, int index)
        {
            if (reader.TokenType != JsonTokenType.StartObject)
                throw new RowException($"message {index} is {Kind(reader.TokenType)}, not an object {{role, content}}");
            string? role = null, content = null;
            while (reader.Read() && reader.TokenType == JsonTokenType.PropertyName)
            {
                string name = reader.GetString()!;
                reader.Read();
                if (name is not ("role" or "content"))
                {
                    reader.Skip();
                    continue;
                }
                if (reader.TokenType != JsonTokenType.String)
                    throw new RowException($"the field '{name}' of message {index} is {Kind(reader.TokenType)}, not a text");
                Once(name == "role" ? role : content, name);
                if (name == "role")
                    role = reader.GetString();
                else
                    content = reader.GetString();
            }
            if (role is not ("system" or "user" or "assistant"))
                throw new RowException($"message {index} has the role '{DataFormatException.Printable(role ?? "")}'; system, user and assistant are known");
            if (content is null || (role == "assistant" && string.IsNullOrWhiteSpace(content)))
                throw new RowException($"message {index} has no content");
            return new ChatMessage(role, content);
        }

        private static string Kind(JsonTokenType type) => type switch
        {
            JsonTokenType.StartArray => "an array",
            JsonTokenType.StartObject => "an object",
            JsonTokenType.String => "a string",
            JsonTokenType.Number => "a number",
            JsonTokenType.True or JsonTokenType.False => "true or false",
            _ => "null",
        };
    }
}
