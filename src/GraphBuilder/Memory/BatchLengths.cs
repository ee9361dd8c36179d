using System.Globalization;
using SorsaOrt.Ir;

namespace SorsaOrt.GraphBuilder.Memory;

/// <summary>The lengths that a micro-batch gives to the symbols of the training graph.</summary>
/// <param name="Batch">Rows.</param>
/// <param name="Sequence">Tokens of a row, padding included.</param>
/// <param name="Labels">Tokens of the whole micro-batch that carry a label.</param>
public readonly record struct BatchLengths(long Batch, long Sequence, long Labels)
{
    /// <summary>The length of a dimension; null where it depends on anything else.</summary>
    /// <remarks>In a file that was read back a product such as <c>batch*sequence</c> is one symbol with that name.</remarks>
    public long? Of(Dim dim)
    {
        var (lengths, known) = (this, true);
        var number = dim.Substitute(name =>
        {
            var length = lengths.OfSum(name);
            known &= length is not null;
            return length ?? 0;
        });
        return known ? number.Value : null;
    }

    /// <summary>Bytes of a value of that type; null where its shape is not known.</summary>
    public long? BytesOf(TensorType? type)
    {
        if (type?.Shape is null)
            return null;
        var count = 1L;
        foreach (var dim in type.Shape)
        {
            if (Of(dim) is not { } n)
                return null;
            count = checked(count * Math.Max(0, n));
        }
        return type.ElementType.ByteSize(count);
    }

    private long? OfSum(string text)
    {
        var sum = 0L;
        foreach (var term in text.Split(" + "))
        {
            var product = 1L;
            foreach (var factor in term.Split('*'))
            {
                if (OfFactor(factor) is not { } n)
                    return null;
                product = checked(product * n);
            }
            sum = checked(sum + product);
        }
        return sum;
    }

    private long? OfFactor(string name) => name switch
    {
        "batch" => Batch,
        "sequence" => Sequence,
        "labels" => Labels,
        _ => long.TryParse(name, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out var n) ? n : null,
    };
}
