using System.Globalization;

namespace SorsaOrt.Data;

/// <summary>A text value of a template: stretches, each from the template or from a row.</summary>
internal sealed record JinjaText(IReadOnlyList<RenderedPart> Parts)
{
    public string Plain => string.Concat(Parts.Select(p => p.Text));

    public static JinjaText Of(string text, bool isData = false) => new([new RenderedPart(text, isData)]);

    /// <summary>The text without white space at its ends.</summary>
    public JinjaText Trimmed()
    {
        string plain = Plain;
        int from = plain.Length - plain.TrimStart().Length, to = plain.TrimEnd().Length, at = 0;
        var parts = new List<RenderedPart>();
        foreach (var part in Parts)
        {
            int start = Math.Max(from - at, 0), end = Math.Min(to - at, part.Text.Length);
            if (end > start)
                parts.Add(part with { Text = part.Text[start..end] });
            at += part.Text.Length;
        }
        return new(parts);
    }
}

/// <summary>The "loop" of a for.</summary>
internal sealed record JinjaLoop(int Index0, int Length);

/// <summary>A part of a template.</summary>
internal abstract record JinjaNode
{
    public abstract void Render(Dictionary<string, object?> scope, List<RenderedPart> output);

    protected static void RenderAll(IReadOnlyList<JinjaNode> nodes, Dictionary<string, object?> scope, List<RenderedPart> output)
    {
        foreach (var node in nodes)
            node.Render(scope, output);
    }
}

internal sealed record JinjaLiteral(string Text) : JinjaNode
{
    public override void Render(Dictionary<string, object?> scope, List<RenderedPart> output) => output.Add(new(Text, false));
}

internal sealed record JinjaOutput(JinjaExpression Value) : JinjaNode
{
    public override void Render(Dictionary<string, object?> scope, List<RenderedPart> output) => output.AddRange(JinjaExpression.TextOf(Value.Evaluate(scope)).Parts);
}

internal sealed record JinjaSet(string Name, JinjaExpression Value) : JinjaNode
{
    public override void Render(Dictionary<string, object?> scope, List<RenderedPart> output) => scope[Name] = Value.Evaluate(scope);
}

internal sealed record JinjaIf(IReadOnlyList<(JinjaExpression? Condition, IReadOnlyList<JinjaNode> Nodes)> Branches) : JinjaNode
{
    public override void Render(Dictionary<string, object?> scope, List<RenderedPart> output)
    {
        foreach (var (condition, nodes) in Branches)
        {
            if (condition is not null && !JinjaExpression.IsTrue(condition.Evaluate(scope)))
                continue;
            RenderAll(nodes, scope, output);
            return;
        }
    }
}

internal sealed record JinjaFor(string Name, JinjaExpression Items, IReadOnlyList<JinjaNode> Nodes) : JinjaNode
{
    public override void Render(Dictionary<string, object?> scope, List<RenderedPart> output)
    {
        if (Items.Evaluate(scope) is not IReadOnlyList<ChatMessage> messages)
            throw new NotSupportedException("its 'for' goes over something that is not the messages");
        for (int i = 0; i < messages.Count; i++)
        {
            var inner = new Dictionary<string, object?>(scope, StringComparer.Ordinal) { [Name] = messages[i], ["loop"] = new JinjaLoop(i, messages.Count) };
            RenderAll(Nodes, inner, output);
        }
    }
}

/// <summary>An expression of a template. Values are texts, whole numbers, true and false, null, messages, lists of them, and the loop.</summary>
internal abstract record JinjaExpression
{
    /// <summary>What a name that is not there stands for.</summary>
    public static readonly object Undefined = new();

    public abstract object? Evaluate(Dictionary<string, object?> scope);

    public static bool IsTrue(object? value) => value switch
    {
        bool truth => truth,
        long number => number != 0,
        JinjaText text => text.Plain.Length > 0,
        IReadOnlyList<ChatMessage> list => list.Count > 0,
        null => false,
        _ => !ReferenceEquals(value, Undefined),
    };

    public static JinjaText TextOf(object? value) => value switch
    {
        JinjaText text => text,
        long number => JinjaText.Of(number.ToString(CultureInfo.InvariantCulture)),
        _ => throw new NotSupportedException("it writes a value that is no text"),
    };
}

internal sealed record JinjaConstant(object? Value) : JinjaExpression
{
    public override object? Evaluate(Dictionary<string, object?> scope) => Value;
}

internal sealed record JinjaName(string Name) : JinjaExpression
{
    public override object? Evaluate(Dictionary<string, object?> scope) => scope.TryGetValue(Name, out object? value) ? value : Undefined;
}

/// <summary>value.name or value['name'].</summary>
internal sealed record JinjaMember(JinjaExpression Of, string Name) : JinjaExpression
{
    public override object? Evaluate(Dictionary<string, object?> scope) => (Of.Evaluate(scope), Name) switch
    {
        (ChatMessage message, "role") => JinjaText.Of(message.Role),
        (ChatMessage message, "content") => JinjaText.Of(message.Content, isData: true),
        (ChatMessage, _) => Undefined,
        (JinjaLoop loop, "first") => loop.Index0 == 0,
        (JinjaLoop loop, "last") => loop.Index0 == loop.Length - 1,
        (JinjaLoop loop, "index0") => (long)loop.Index0,
        (JinjaLoop loop, "index") => (long)loop.Index0 + 1,
        (JinjaLoop loop, "length") => (long)loop.Length,
        _ => throw new NotSupportedException($"it asks for '{DataFormatException.Printable(Name)}' of something that has none"),
    };
}

/// <summary>list[number] or list[from:].</summary>
internal sealed record JinjaItem(JinjaExpression Of, JinjaExpression At, bool IsSlice) : JinjaExpression
{
    public override object? Evaluate(Dictionary<string, object?> scope)
    {
        if (Of.Evaluate(scope) is not IReadOnlyList<ChatMessage> list || At.Evaluate(scope) is not long at)
            throw new NotSupportedException("it takes an entry of something that is not the messages");
        int index = (int)Math.Clamp(at < 0 ? at + list.Count : at, 0, list.Count);
        return IsSlice ? list.Skip(index).ToList() : index < list.Count ? list[index] : Undefined;
    }
}

internal sealed record JinjaTrim(JinjaExpression Of) : JinjaExpression
{
    public override object? Evaluate(Dictionary<string, object?> scope) => TextOf(Of.Evaluate(scope)).Trimmed();
}

internal sealed record JinjaIsDefined(JinjaExpression Of, bool Wanted) : JinjaExpression
{
    public override object? Evaluate(Dictionary<string, object?> scope) => ReferenceEquals(Of.Evaluate(scope), Undefined) != Wanted;
}

internal sealed record JinjaNot(JinjaExpression Of) : JinjaExpression
{
    public override object? Evaluate(Dictionary<string, object?> scope) => !IsTrue(Of.Evaluate(scope));
}

internal sealed record JinjaRaise(JinjaExpression Message) : JinjaExpression
{
    public override object? Evaluate(Dictionary<string, object?> scope) =>
        throw new NotSupportedException($"the model's chat template refuses the conversation: {DataFormatException.Printable(TextOf(Message.Evaluate(scope)).Plain)}");
}

internal sealed record JinjaBinary(string Operator, JinjaExpression Left, JinjaExpression Right) : JinjaExpression
{
    public override object? Evaluate(Dictionary<string, object?> scope)
    {
        object? left = Left.Evaluate(scope);
        if (Operator is "and" or "or")
            return IsTrue(left) == (Operator == "or") ? left : Right.Evaluate(scope);
        object? right = Right.Evaluate(scope);
        return Operator switch
        {
            "==" => AreEqual(left, right),
            "!=" => !AreEqual(left, right),
            "%" when left is long a && right is long b && b > 0 => a % b,
            "+" when left is long a && right is long b => a + b,
            "+" or "~" => new JinjaText([.. TextOf(left).Parts, .. TextOf(right).Parts]),
            _ => throw new NotSupportedException($"it uses '{Operator}' on values that are not supported"),
        };
    }

    private static bool AreEqual(object? left, object? right) =>
        left is JinjaText a && right is JinjaText b ? a.Plain == b.Plain : Equals(left, right);
}
