namespace SorsaOrt.Data;

/// <summary>One example of a data file. <paramref name="Line"/> counts from 1: the line in a .jsonl file, the element in a .json array.</summary>
public abstract record Row(int Line);

/// <summary>A question and its answer: {query, response}, {question, answer} or {instruction, input, output}. Input may be empty.</summary>
public sealed record PromptRow(int Line, string Instruction, string Input, string Response) : Row(Line);

/// <summary>A conversation: {messages: [{role, content}]}, with at least one answer of the assistant.</summary>
public sealed record ChatRow(int Line, IReadOnlyList<ChatMessage> Messages) : Row(Line);

/// <summary>Plain text: {text}. Loss counts on all of it.</summary>
public sealed record TextRow(int Line, string Text) : Row(Line);

/// <summary>Tokens made elsewhere: {input_ids, labels}, of one length; label −100 = not counted, labels not shifted.</summary>
public sealed record TokenRow(int Line, int[] InputIds, int[] Labels) : Row(Line);

/// <summary>A turn of a conversation; role is system, user or assistant.</summary>
public sealed record ChatMessage(string Role, string Content);
