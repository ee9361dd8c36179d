using System.Collections.Immutable;
using System.Diagnostics.CodeAnalysis;
using System.Globalization;

namespace SorsaOrt.Ir;

/// <summary>
/// One dimension of a shape, or one element of an integer tensor that is computed from shapes: a polynomial with integer
/// coefficients over named symbols such as <c>batch_size</c>, or unknown.
/// </summary>
/// <remarks>
/// Two dimensions are equal when their polynomials are. A symbol stands for a run-time length that no broadcasting rule
/// ever treats as 1; only the constant 1 broadcasts.
/// </remarks>
public readonly struct Dim : IEquatable<Dim>
{
    // Sorted by monomial; a monomial is its symbols, sorted, joined by '·'; the constant term has the empty monomial.
    private readonly ImmutableArray<(string Monomial, long Coefficient)> _terms;

    private Dim(ImmutableArray<(string, long)> terms) => _terms = terms;

    /// <summary>A length about which nothing is known; never equal to anything, itself included, in <see cref="Same"/>.</summary>
    public static Dim Unknown => default;

    /// <summary>A constant.</summary>
    public static Dim Of(long value) => new(value == 0 ? [] : [("", value)]);

    /// <summary>A symbol, named as in the model's <c>dim_param</c>; the text is not taken apart.</summary>
    public static Dim Symbol(string name) => new([(name, 1)]);

    /// <summary>Whether anything is known.</summary>
    public bool IsKnown => !_terms.IsDefault;

    /// <summary>The value of a constant; null for a symbolic or unknown dimension.</summary>
    public long? Value => _terms switch
    {
        { IsDefault: true } => null,
        { Length: 0 } => 0,
        { Length: 1 } when _terms[0].Monomial.Length == 0 => _terms[0].Coefficient,
        _ => null,
    };

    /// <summary>True for the constant <paramref name="value"/>.</summary>
    public bool Is(long value) => Value == value;

    /// <summary>Known and greater than 0 for every value of the symbols, each of which is at least 0.</summary>
    public bool IsPositive => IsKnown && _terms.Length > 0 && _terms[0].Monomial.Length == 0 && _terms.All(t => t.Coefficient > 0);

    /// <summary>Both known and equal for every value of the symbols.</summary>
    public static bool Same(Dim a, Dim b) => a.IsKnown && b.IsKnown && a._terms.AsSpan().SequenceEqual(b._terms.AsSpan());

    /// <summary>From a number.</summary>
    public static implicit operator Dim(long value) => Of(value);

    /// <summary>From a number.</summary>
    public static Dim FromInt64(long value) => Of(value);

    /// <summary>Sum.</summary>
    public static Dim operator +(Dim a, Dim b) => Combine(a, b, 1);

    /// <summary>Sum.</summary>
    public static Dim Add(Dim left, Dim right) => left + right;

    /// <summary>Difference.</summary>
    public static Dim operator -(Dim a, Dim b) => Combine(a, b, -1);

    /// <summary>Difference.</summary>
    public static Dim Subtract(Dim left, Dim right) => left - right;

    /// <summary>Product.</summary>
    public static Dim operator *(Dim a, Dim b)
    {
        if (!a.IsKnown || !b.IsKnown)
            return a.Is(0) || b.Is(0) ? 0 : Unknown;
        var terms = new SortedDictionary<string, long>(StringComparer.Ordinal);
        foreach (var (m, c) in a._terms)
        {
            foreach (var (n, d) in b._terms)
            {
                var monomial = m.Length == 0 ? n : n.Length == 0 ? m
                    : string.Join('·', m.Split('·').Concat(n.Split('·')).Order(StringComparer.Ordinal));
                terms[monomial] = terms.GetValueOrDefault(monomial) + c * d;
            }
        }
        return From(terms);
    }

    /// <summary>Product.</summary>
    public static Dim Multiply(Dim left, Dim right) => left * right;

    /// <summary>The quotient where the division leaves no remainder for any value of the symbols; otherwise false.</summary>
    /// <remarks>Divides by a constant or by a single term; that is what reshapes of exported models need.</remarks>
    public bool TryDivide(Dim divisor, out Dim quotient)
    {
        quotient = Unknown;
        if (!IsKnown || !divisor.IsKnown || divisor._terms.Length != 1)
            return IsKnown && Same(this, divisor) && Assign(1, out quotient);
        var (by, coefficient) = divisor._terms[0];
        var terms = new SortedDictionary<string, long>(StringComparer.Ordinal);
        foreach (var (monomial, c) in _terms)
        {
            var symbols = monomial.Length == 0 ? [] : monomial.Split('·').ToList();
            foreach (var symbol in by.Length == 0 ? [] : by.Split('·'))
            {
                if (!symbols.Remove(symbol))
                    return false;
            }
            if (c % coefficient != 0)
                return false;
            terms[string.Join('·', symbols)] = c / coefficient;
        }
        return Assign(From(terms), out quotient);
    }

    /// <summary>The polynomial with symbols replaced by what <paramref name="replacement"/> gives for their names; null keeps a symbol.</summary>
    public Dim Substitute(Func<string, Dim?> replacement)
    {
        if (!IsKnown)
            return this;
        var sum = Of(0);
        foreach (var (monomial, coefficient) in _terms)
        {
            var product = Of(coefficient);
            foreach (var symbol in monomial.Length == 0 ? [] : monomial.Split('·'))
                product *= replacement(symbol) ?? Symbol(symbol);
            sum += product;
        }
        return sum;
    }

    /// <inheritdoc/>
    public bool Equals(Dim other) => IsKnown == other.IsKnown && (!IsKnown || Same(this, other));

    /// <inheritdoc/>
    public override bool Equals([NotNullWhen(true)] object? obj) => obj is Dim other && Equals(other);

    /// <inheritdoc/>
    public override int GetHashCode() => ToString().GetHashCode(StringComparison.Ordinal);

    /// <summary>Equal polynomials, or both unknown.</summary>
    public static bool operator ==(Dim left, Dim right) => left.Equals(right);

    /// <summary>Not equal.</summary>
    public static bool operator !=(Dim left, Dim right) => !left.Equals(right);

    /// <summary><c>7</c>, <c>batch_size</c>, <c>2*sequence_length + 1</c>, or <c>?</c>.</summary>
    public override string ToString()
    {
        if (!IsKnown)
            return "?";
        if (_terms.Length == 0)
            return "0";
        // The constant term last, as people write it; it sorts first because its monomial is empty.
        return string.Join(" + ", _terms.Where(t => t.Monomial.Length > 0).Concat(_terms.Where(t => t.Monomial.Length == 0)).Select(t =>
            t.Monomial.Length == 0 ? t.Coefficient.ToString(CultureInfo.InvariantCulture)
            : t.Coefficient == 1 ? t.Monomial.Replace('·', '*')
            : t.Coefficient.ToString(CultureInfo.InvariantCulture) + "*" + t.Monomial.Replace('·', '*')));
    }

    private static bool Assign(Dim value, out Dim target)
    {
        target = value;
        return true;
    }

    private static Dim Combine(Dim a, Dim b, long sign)
    {
        if (!a.IsKnown || !b.IsKnown)
            return Unknown;
        var terms = new SortedDictionary<string, long>(StringComparer.Ordinal);
        foreach (var (m, c) in a._terms)
            terms[m] = c;
        foreach (var (m, c) in b._terms)
            terms[m] = terms.GetValueOrDefault(m) + sign * c;
        return From(terms);
    }

    private static Dim From(SortedDictionary<string, long> terms) =>
        new([.. terms.Where(t => t.Value != 0).Select(t => (t.Key, t.Value))]);
}
