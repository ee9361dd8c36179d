using System.Globalization;
using Microsoft.ML.OnnxRuntime.Tensors;
using SorsaOrt.Ir;
using SorsaOrt.Ir.Serialization;

namespace SorsaOrt.Inference;

/// <summary>A layer's cached keys or values: what goes in as past comes out as present, longer.</summary>
/// <param name="Past">Input [B, heads, past, head size].</param>
/// <param name="Present">Output [B, heads, past + S, head size].</param>
/// <param name="Type">Element type of both.</param>
/// <param name="Heads">Key/value heads.</param>
/// <param name="HeadSize">Width of a head.</param>
internal sealed record CacheSlot(string Past, string Present, TensorElementType Type, long Heads, long HeadSize);

/// <summary>What an exported language model takes and gives, read from its file; anything it could not be fed is refused by name.</summary>
internal sealed record ModelInterface
{
    public const string InputIds = "input_ids";
    public const string AttentionMask = "attention_mask";
    public const string PositionIds = "position_ids";
    public const string Logits = "logits";
    private const string Contrib = "com.microsoft";

    /// <summary>Token inputs in use: input_ids and, where the model has them, attention_mask and position_ids.</summary>
    public required IReadOnlyList<string> TokenInputs { get; init; }

    /// <summary>The cache, a slot per layer and kind; empty for a model without one.</summary>
    public required IReadOnlyList<CacheSlot> Cache { get; init; }

    /// <summary>Element type of the logits.</summary>
    public required ElementType LogitsType { get; init; }

    /// <summary>Last dimension of the logits, where the file says it.</summary>
    public required int? VocabularySize { get; init; }

    /// <summary>Whether a cache may have a gap of masked padding between a prompt and what follows it.</summary>
    /// <remarks>It may where a mask and positions are inputs and attention is plain operators; the fused ones of com.microsoft know only lengths.</remarks>
    public required bool TakesGaps { get; init; }

    /// <summary>Reads the file's interface; the weights stay on disk.</summary>
    /// <exception cref="ModelFormatException">The file is damaged or not ONNX.</exception>
    /// <exception cref="UnsupportedGraphException">It is no causal language model that can be run here.</exception>
    public static ModelInterface Read(string path)
    {
        using var model = OnnxReader.Read(path);
        var graph = model.Graph;
        var inputs = graph.Inputs.Where(i => i.Constant is null).ToList();
        var past = inputs.Where(i => IsPast(i.Name)).ToList();
        var tokens = inputs.Where(i => !IsPast(i.Name)).ToList();
        if (tokens.FirstOrDefault(i => i.Name is not (InputIds or AttentionMask or PositionIds)) is { } unknown)
            throw Refuse(path, $"its input {Show(unknown)} is not known: {InputIds}, {AttentionMask}, {PositionIds} and past_key_values.* can be fed");
        if (tokens.FirstOrDefault(i => i.ElementType is not (ElementType.Int64 or ElementType.Undefined)) is { } foreign)
            throw Refuse(path, $"its input {Show(foreign)} is not int64");
        if (!tokens.Exists(i => i.Name == InputIds))
            throw Refuse(path, $"it has no input '{InputIds}'");
        var logits = graph.Outputs.FirstOrDefault(o => o.Name == Logits)
            ?? throw Refuse(path, $"it has no output '{Logits}' (it gives {string.Join(", ", graph.Outputs.Take(5).Select(o => $"'{o.Name}'"))})");
        if (logits.ElementType is not (ElementType.Float32 or ElementType.Float16 or ElementType.BFloat16))
            throw Refuse(path, $"its output {Show(logits)} is none of float32, float16, bfloat16");
        bool fused = graph.Nodes.Any(n => n.Domain == Contrib && n.OpType.Contains("Attention", StringComparison.Ordinal));
        return new ModelInterface
        {
            TokenInputs = [.. tokens.Select(i => i.Name)],
            Cache = Slots(path, past, [.. graph.Outputs.Where(o => o.Name.StartsWith("present", StringComparison.Ordinal))]),
            LogitsType = logits.ElementType,
            VocabularySize = logits.Shape is [.., var last] && last.Value is { } size ? checked((int)size) : null,
            TakesGaps = !fused && tokens.Count == 3,
        };
    }

    private static bool IsPast(string name) => name.StartsWith("past", StringComparison.Ordinal);

    private static List<CacheSlot> Slots(string path, List<Value> past, List<Value> present)
    {
        if (past.Count == 0)
            return [];
        if (past.Count != present.Count)
            throw Refuse(path, $"it has {past.Count} past inputs but {present.Count} present outputs");
        var byPlace = present.GroupBy(p => Place(p.Name), StringComparer.Ordinal).ToDictionary(g => g.Key, g => g.ToList(), StringComparer.Ordinal);
        bool named = past.Select(p => Place(p.Name)).Distinct(StringComparer.Ordinal).Count() == past.Count
            && past.TrueForAll(p => byPlace.TryGetValue(Place(p.Name), out var found) && found.Count == 1);
        var slots = new List<CacheSlot>(past.Count);
        for (int i = 0; i < past.Count; i++)
            slots.Add(Slot(path, past[i], named ? byPlace[Place(past[i].Name)][0] : present[i]));
        return slots;
    }

    /// <summary>The part of a name that says which layer and kind: from the first digit on, "0.key".</summary>
    private static string Place(string name)
    {
        int digit = name.AsSpan().IndexOfAnyInRange('0', '9');
        return digit < 0 ? name : name[digit..];
    }

    private static CacheSlot Slot(string path, Value past, Value present)
    {
        TensorElementType type = past.ElementType switch
        {
            ElementType.Float32 => TensorElementType.Float,
            ElementType.Float16 => TensorElementType.Float16,
            ElementType.BFloat16 => TensorElementType.BFloat16,
            _ => throw Refuse(path, $"its cache input {Show(past)} is none of float32, float16, bfloat16"),
        };
        if (present.ElementType != past.ElementType)
            throw Refuse(path, $"its cache output {Show(present)} is not of the type of {Show(past)}");
        if (past.Shape is not [_, var heads, _, var size])
            throw Refuse(path, $"its cache input {Show(past)} is not [batch, heads, past, head size]");
        var (fusedHeads, fusedSize) = FromFusedAttention(past);
        return new CacheSlot(past.Name, present.Name, type,
            heads.Value ?? fusedHeads ?? throw Refuse(path, $"the heads of its cache input {Show(past)} are not a number"),
            size.Value ?? fusedSize ?? throw Refuse(path, $"the head size of its cache input {Show(past)} is not a number"));
    }

    /// <summary>Heads and head size as the attention node tells them: onnxruntime-genai's exports name the axis and keep the number to themselves.</summary>
    private static (long? Heads, long? Size) FromFusedAttention(Value past)
    {
        if (past.Uses.Select(u => u.Node).FirstOrDefault(n => n.Is("GroupQueryAttention", Contrib)) is not { } node)
            return (null, null);
        long heads = node.Int("num_heads", 0), pairs = node.Int("kv_num_heads", 0);
        bool packed = node.InputOrNull(1) is null;
        long? width = node.InputOrNull(packed ? 0 : 1)?.Shape is [.., var last] ? last.Value : null;
        long parts = packed ? heads + 2 * pairs : pairs;
        return pairs > 0 && parts > 0 && width % parts == 0 ? (pairs, width / parts) : (null, null);
    }

    private static string Show(Value value) => $"'{value.Name}'{(value.Type is { } type ? $" ({type})" : "")}";

    private static UnsupportedGraphException Refuse(string path, string reason) =>
        new(string.Create(CultureInfo.InvariantCulture, $"{path}: this model cannot be run as a language model: {reason}. Export it as text generation, with or without past."));
}
