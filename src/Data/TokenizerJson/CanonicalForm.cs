using System.Globalization;
using System.Text;

namespace SorsaOrt.Data.TokenizerJson;

/// <summary>Unicode's canonical composition (NFC) and decomposition (NFD), UAX #15.</summary>
/// <remarks>
/// .NET leaves text as it is where it runs without ICU, as this program does. canonical-forms.txt holds, from Unicode 14, a line per decomposition
/// ("+": it may be composed again, "-": not) and per range of characters of one combining class ("=").
/// </remarks>
internal static class CanonicalForm
{
    private const int FirstOfInterest = 0x300;   // below, every character composed is its own NFC
    private const int SyllableBase = 0xAC00, LeadBase = 0x1100, VowelBase = 0x1161, TailBase = 0x11A7;
    private const int Leads = 19, Vowels = 21, Tails = 28;

    private static readonly Lazy<Tables> Data = new(Tables.Read);

    /// <summary>NFC of a text.</summary>
    public static string Compose(string text)
    {
        if (!text.AsSpan().ContainsAnyInRange((char)FirstOfInterest, '\uffff'))
            return text;
        var points = Decomposed(text);
        var tables = Data.Value;
        int starter = -1, lastClass = 0, written = 0;
        for (int i = 0; i < points.Count; i++)
        {
            int point = points[i], combining = tables.ClassOf(point);
            bool blocked = starter >= 0 && written > starter + 1 && lastClass >= combining;
            if (starter >= 0 && !blocked && tables.Composite(points[starter], point) is { } composite)
            {
                points[starter] = composite;
                continue;
            }
            if (combining == 0)
                starter = written;
            lastClass = combining;
            points[written++] = point;
        }
        points.RemoveRange(written, points.Count - written);
        return ToText(points);
    }

    /// <summary>NFD of a text.</summary>
    public static string Decompose(string text) => Ascii.IsValid(text) ? text : ToText(Decomposed(text));

    private static List<int> Decomposed(string text)
    {
        var tables = Data.Value;
        var points = new List<int>(text.Length);
        for (int at = 0; at < text.Length;)
        {
            bool isPair = char.IsHighSurrogate(text[at]) && at + 1 < text.Length && char.IsLowSurrogate(text[at + 1]);
            tables.Decompose(isPair ? char.ConvertToUtf32(text[at], text[at + 1]) : text[at], points);
            at += isPair ? 2 : 1;
        }
        for (int i = 0; i < points.Count; i++)   // canonical order: each run of combining characters by class, equal ones as they stand
        {
            int end = i;
            while (end < points.Count && tables.ClassOf(points[end]) > 0)
                end++;
            if (end - i > 1)
            {
                int[] ordered = [.. points.GetRange(i, end - i).OrderBy(tables.ClassOf)];
                ordered.CopyTo(System.Runtime.InteropServices.CollectionsMarshal.AsSpan(points)[i..end]);
            }
            i = end;
        }
        return points;
    }

    private static string ToText(List<int> points)
    {
        var text = new StringBuilder(points.Count);
        foreach (int point in points)
        {
            if (point > char.MaxValue)
                text.Append(char.ConvertFromUtf32(point));
            else
                text.Append((char)point);
        }
        return text.ToString();
    }

    private sealed class Tables
    {
        private readonly Dictionary<int, int[]> _parts = [];
        private readonly Dictionary<(int, int), int> _composites = [];
        private readonly Dictionary<int, int> _classes = [];

        public static Tables Read()
        {
            using var stream = typeof(Tables).Assembly.GetManifestResourceStream("canonical-forms.txt")!;
            using var reader = new StreamReader(stream);
            var tables = new Tables();
            while (reader.ReadLine() is { } line)
                tables.Add(line[0], line[1..].Split(' '));
            return tables;
        }

        public int ClassOf(int point) => point < FirstOfInterest ? 0 : _classes.GetValueOrDefault(point);

        public int? Composite(int first, int second)
        {
            if (first is >= LeadBase and < LeadBase + Leads && second is >= VowelBase and < VowelBase + Vowels)
                return SyllableBase + ((first - LeadBase) * Vowels + second - VowelBase) * Tails;
            if (first is >= SyllableBase and < SyllableBase + Leads * Vowels * Tails && (first - SyllableBase) % Tails == 0 && second is > TailBase and < TailBase + Tails)
                return first + second - TailBase;
            return _composites.TryGetValue((first, second), out int composite) ? composite : null;
        }

        public void Decompose(int point, List<int> points)
        {
            if (point is >= SyllableBase and < SyllableBase + Leads * Vowels * Tails)
            {
                int syllable = point - SyllableBase;
                points.Add(LeadBase + syllable / (Vowels * Tails));
                points.Add(VowelBase + syllable % (Vowels * Tails) / Tails);
                if (syllable % Tails > 0)
                    points.Add(TailBase + syllable % Tails);
            }
            else if (_parts.TryGetValue(point, out int[]? parts))
            {
                Decompose(parts[0], points);   // the table nests a few levels
                points.AddRange(parts.AsSpan(1));
            }
            else
            {
                points.Add(point);
            }
        }

        private void Add(char kind, string[] fields)
        {
            int[] points = [.. (kind == '=' ? fields[..2] : fields).Select(f => int.Parse(f, NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture))];
            if (kind == '=')
            {
                for (int point = points[0]; point <= points[1]; point++)
                    _classes.Add(point, int.Parse(fields[2], CultureInfo.InvariantCulture));
                return;
            }
            _parts.Add(points[0], points[1..]);
            if (kind == '+')
                _composites.Add((points[1], points[2]), points[0]);
        }
    }
}
