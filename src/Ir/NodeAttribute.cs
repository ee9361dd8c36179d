using System.Globalization;
using System.Text;

namespace SorsaOrt.Ir;

/// <summary>What an attribute holds, with the numbers of <c>AttributeProto.AttributeType</c>.</summary>
public enum AttributeKind
{
    /// <summary>Not stated.</summary>
    Undefined = 0,
    /// <summary>One <see cref="float"/>.</summary>
    Float = 1,
    /// <summary>One <see cref="long"/>.</summary>
    Int = 2,
    /// <summary>One string as UTF-8 bytes.</summary>
    String = 3,
    /// <summary>One <see cref="Ir.Tensor"/>.</summary>
    Tensor = 4,
    /// <summary>One <see cref="Ir.Graph"/>.</summary>
    Graph = 5,
    /// <summary>A list of <see cref="float"/>.</summary>
    Floats = 6,
    /// <summary>A list of <see cref="long"/>.</summary>
    Ints = 7,
    /// <summary>A list of strings as UTF-8 bytes.</summary>
    Strings = 8,
    /// <summary>A list of tensors.</summary>
    Tensors = 9,
    /// <summary>A list of graphs.</summary>
    Graphs = 10,
    /// <summary>Anything else (sparse tensors, types): the file's message, kept as bytes.</summary>
    Uninterpreted = 100,
}

/// <summary>A named constant of a node.</summary>
/// <param name="Name">Attribute name.</param>
/// <param name="Kind">What <paramref name="Content"/> is.</param>
/// <param name="Content">The value, as <see cref="AttributeKind"/> says.</param>
/// <param name="DocString">Documentation string of the file.</param>
/// <param name="ReferenceName">Inside a function body: the function's attribute this one stands for.</param>
public sealed record NodeAttribute(string Name, AttributeKind Kind, object Content, string DocString = "", string ReferenceName = "")
{
    /// <summary>Parts of the file's attribute that the product does not interpret, kept for writing.</summary>
    public byte[]? Uninterpreted { get; init; }

    /// <summary>An integer.</summary>
    public static NodeAttribute Of(string name, long value) => new(name, AttributeKind.Int, value);

    /// <summary>A float.</summary>
    public static NodeAttribute Of(string name, float value) => new(name, AttributeKind.Float, value);

    /// <summary>A list of integers.</summary>
    public static NodeAttribute Of(string name, IReadOnlyList<long> value) => new(name, AttributeKind.Ints, value);

    /// <summary>A string.</summary>
    public static NodeAttribute Of(string name, string value) => new(name, AttributeKind.String, Encoding.UTF8.GetBytes(value));

    /// <summary>A tensor.</summary>
    public static NodeAttribute Of(string name, Tensor value) => new(name, AttributeKind.Tensor, value);

    /// <summary><c>axis=-1</c>.</summary>
    public override string ToString() => Name + "=" + Content switch
    {
        float f => f.ToString(CultureInfo.InvariantCulture),
        long i => i.ToString(CultureInfo.InvariantCulture),
        IReadOnlyList<long> ints => $"[{string.Join(',', ints)}]",
        IReadOnlyList<float> floats => $"[{string.Join(',', floats.Select(f => f.ToString(CultureInfo.InvariantCulture)))}]",
        byte[] text => $"'{Encoding.UTF8.GetString(text)}'",
        var other => other.ToString(),
    };
}
